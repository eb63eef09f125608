package main

import "regexp"

// skip is a reason not to run the specs whose text matches. The suite leaves out by itself
// what the driver or the cluster does not declare.
type skip struct {
	pattern *regexp.Regexp
	reason  string
}

var skips = []skip{
	{regexp.MustCompile(`\[Testpattern: Dynamic PV \(default fs\)\] provisioning should provision storage with any volume data source \[Serial\]$`),
		"it deploys a volume populator, whose image can be had from a registry only"},
}

// listed returns why the list leaves a spec out, "" when it does not.
func listed(text string) string {
	for _, skip := range skips {
		if skip.pattern.MatchString(text) {
			return skip.reason
		}
	}
	return ""
}

// leftOut names those of the specs that the list leaves out, with the reasons.
func leftOut(specs []string) []string {
	var lines []string
	for _, text := range specs {
		if reason := listed(text); reason != "" {
			lines = append(lines, brief(text)+": "+reason)
		}
	}
	return lines
}
