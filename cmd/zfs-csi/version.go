package main

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
)

// version is set by the build: -ldflags "-X main.version=v1.2.3".
var version string

// buildVersion returns the version of this build: what the build was told, else the
// module's version or the commit it was built from.
func buildVersion() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	commit := settings["vcs.revision"]
	if commit == "" {
		return "devel"
	}
	if settings["vcs.modified"] == "true" {
		return "devel-" + commit[:min(12, len(commit))] + "-modified"
	}
	return "devel-" + commit[:min(12, len(commit))]
}

func printVersion(_ context.Context, call invocation) error {
	if err := newFlags("version", "Prints the version, that of Go, and the system it was built for.\n", call).parse(0); err != nil {
		return err
	}
	fmt.Fprintf(call.stdout, "zfs-csi %s (%s, %s/%s)\n", buildVersion(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return nil
}
