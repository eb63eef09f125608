package csi_test

import (
	"fmt"
	"os"
	"syscall"
	"testing"
)

// TestMain lets as many tests run side by side as wait for ZFS without being in each
// other's way, which is more than there are processors. Ginkgo refuses -test.parallel,
// so it is done by what that defaults to.
func TestMain(m *testing.M) {
	if config := os.Getenv(asDriver); config != "" {
		fmt.Fprintln(os.Stderr, "serve:", serveUntilKilled(config))
		os.Exit(1)
	}
	const variable = "GOMAXPROCS"
	if os.Getenv(variable) == "" {
		err := syscall.Exec("/proc/self/exe", os.Args, append(os.Environ(), variable+"=3"))
		fmt.Fprintln(os.Stderr, "start again with "+variable+":", err)
		os.Exit(2)
	}
	os.Exit(m.Run())
}

// exhaustive tells that nothing is to be left out, which in emulation takes an hour.
func exhaustive() bool { return os.Getenv("ZFS_CSI_EXHAUSTIVE") != "" }
