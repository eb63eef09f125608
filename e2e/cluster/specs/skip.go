package main

import "regexp"

// skip is a reason not to run the specs whose text matches. The suite leaves out by itself
// what the driver or the cluster does not declare.
type skip struct {
	pattern *regexp.Regexp
	reason  string
}

var skips = []skip{
	{regexp.MustCompile(`should provision storage with any volume data source`),
		"it deploys a volume populator, whose image can be had from a registry only"},
	{regexp.MustCompile(`multiple pods should modify volumes with a different volumeAttributesClass`),
		"it makes claims and no pod, so that those of a class that waits for the first consumer are never bound"},
}
