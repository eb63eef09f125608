package csi_test

import (
	"maps"
	"path/filepath"
	"slices"
	"testing"

	"github.com/kubernetes-csi/csi-test/v5/pkg/sanity"
	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"
	"github.com/onsi/gomega"
)

// notOffered are the specs that skip themselves, and why: all others have to run.
var notOffered = map[string]string{}

// TestSanity runs the CSI project's own suite, for filesystems and for block volumes.
func TestSanity(t *testing.T) {
	s := newStack(t)
	for _, accessType := range []string{"mount", "block"} {
		config := sanity.NewTestConfig()
		config.Address = "unix://" + s.socket
		config.TargetPath = filepath.Join(s.dir, accessType+"-target")
		config.StagingPath = filepath.Join(s.dir, accessType+"-staging")
		config.TestVolumeAccessType = accessType
		config.TestVolumeMutableParameters = map[string]string{"provisioning": "thick", "zfs.compression": "zstd"}
		ginkgo.Describe("csi-sanity, "+accessType, func() { sanity.GinkgoTest(&config) })
	}
	gomega.RegisterFailHandler(ginkgo.Fail)
	var report types.Report
	ginkgo.ReportAfterSuite("what ran", func(r types.Report) { report = r })
	ginkgo.RunSpecs(t, "csi-sanity")
	sanityRan(t, report)
}

// sanityRan checks that every spec ran but those of what the driver does not offer.
func sanityRan(t *testing.T, report types.Report) {
	t.Helper()
	ran, skipped := 0, map[string]string{}
	for _, spec := range report.SpecReports {
		switch {
		case spec.LeafNodeType != types.NodeTypeIt:
		case spec.State.Is(types.SpecStateSkipped | types.SpecStatePending):
			skipped[spec.FullText()] = spec.Failure.Message
		default:
			ran++
		}
	}
	t.Logf("%d specs ran, %d did not", ran, len(skipped))
	if filtered := len(report.SuiteConfig.FocusStrings)+len(report.SuiteConfig.SkipStrings) > 0; filtered {
		return
	}
	if !maps.Equal(skipped, notOffered) || ran == 0 {
		for _, name := range slices.Sorted(maps.Keys(skipped)) {
			t.Logf("did not run: %q: %q", name, skipped[name])
		}
		t.Errorf("%d specs ran; %d did not, where %d are of what is not offered", ran, len(skipped), len(notOffered))
	}
}
