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

// notOffered are the specs that do not run, without their access type, and what they say about it: all others have to.
func notOffered() map[string]string {
	const (
		controller = "Controller Service [Controller Server] "
		publish    = controller + "ControllerPublishVolume "
		lifecycle  = controller + "volume lifecycle "
	)
	return map[string]string{
		// A volume is attached where its pool is: there is nothing to publish to a node.
		publish + "should fail when no volume id is provided":                                                        "ControllerPublishVolume not supported",
		publish + "should fail when no node id is provided":                                                          "ControllerPublishVolume not supported",
		publish + "should fail when no volume capability is provided":                                                "ControllerPublishVolume not supported",
		publish + "should fail when publishing more volumes than the node max attach limit":                          "ControllerPublishVolume not supported",
		publish + "should fail when the volume does not exist":                                                       "ControllerPublishVolume not supported",
		publish + "should fail when the node does not exist":                                                         "ControllerPublishVolume not supported",
		publish + "should fail when the volume is already published but is incompatible":                             "ControllerPublishVolume not supported",
		lifecycle + "should work":                                                                                    "Controller Publish, UnpublishVolume not supported",
		lifecycle + "should be idempotent":                                                                           "Controller Publish, UnpublishVolume not supported",
		controller + "ControllerUnpublishVolume should fail when no volume id is provided":                           "ControllerUnpublishVolume not supported",
		"CreateSnapshot [Controller Server] should succeed when creating a snapshot with accessibility requirements": "SNAPSHOT_ACCESSIBILITY_CONSTRAINTS not supported",
		// The suite has it switched off, for all drivers.
		controller + "ListVolumes pagination should detect volumes added between pages and accept tokens when the last volume from a page is deleted": "",
	}
}

// TestSanity runs the CSI project's own suite, for filesystems and for block volumes.
func TestSanity(t *testing.T) {
	s := newStack(t)
	accessTypes := []string{"mount", "block"}
	for _, accessType := range accessTypes {
		config := sanity.NewTestConfig()
		config.Address = "unix://" + s.socket
		config.TargetPath = filepath.Join(s.dir, accessType+"-target")
		config.StagingPath = filepath.Join(s.dir, accessType+"-staging")
		config.TestVolumeAccessType = accessType
		config.TestVolumeMutableParameters = map[string]string{"provisioning": "thick", "zfs.compression": "zstd"}
		ginkgo.Describe(describe(accessType), func() { sanity.GinkgoTest(&config) })
	}
	gomega.RegisterFailHandler(ginkgo.Fail)
	var report types.Report
	ginkgo.ReportAfterSuite("what ran", func(r types.Report) { report = r })
	ginkgo.RunSpecs(t, "csi-sanity")
	sanityRan(t, report, accessTypes)
}

// sanityRan checks that every spec ran, for each access type, but those of what the driver does not offer.
func sanityRan(t *testing.T, report types.Report, accessTypes []string) {
	t.Helper()
	ran, skipped, want := 0, map[string]string{}, map[string]string{}
	for _, accessType := range accessTypes {
		for name, says := range notOffered() {
			want[describe(accessType)+" "+name] = says
		}
	}
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
		maps.DeleteFunc(skipped, func(_, says string) bool { return says == "" }) // These were not asked for.
		maps.DeleteFunc(want, func(name, _ string) bool { return skipped[name] == "" })
	}
	if ran == 0 || !maps.Equal(skipped, want) {
		for _, name := range slices.Sorted(maps.Keys(skipped)) {
			t.Logf("did not run: %q: %q", name, skipped[name])
		}
		t.Errorf("%d specs ran; those that did not are %d, and not the %d of what is not offered", ran, len(skipped), len(want))
	}
}

func describe(accessType string) string { return "csi-sanity, " + accessType }
