// Package suite is Kubernetes' own suite of tests for storage, run on the driver: its
// tests compile to a program that ../specs runs on a cluster.
package suite
