package csi_test

import (
	"path/filepath"
	"testing"

	"github.com/kubernetes-csi/csi-test/v5/pkg/sanity"
	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
)

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
	ginkgo.RunSpecs(t, "csi-sanity")
}
