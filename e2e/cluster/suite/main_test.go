package suite

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"
	"github.com/onsi/gomega"
	"k8s.io/kubernetes/test/e2e/framework"
	"k8s.io/kubernetes/test/e2e/framework/config"
	"k8s.io/kubernetes/test/e2e/framework/testfiles"
	e2etestingmanifests "k8s.io/kubernetes/test/e2e/testing-manifests"

	_ "k8s.io/kubernetes/test/e2e/framework/debug/init" // tells what was in a failed spec's namespace
	_ "k8s.io/kubernetes/test/e2e/framework/node/init"  // the node is ready after each spec
	_ "k8s.io/kubernetes/test/e2e/storage/external"
)

// stateVariable names the file that results are appended to, one SpecReport in JSON a line.
const stateVariable = "ZFS_CSI_SPECS_STATE"

func TestMain(m *testing.M) {
	config.CopyFlags(config.Flags, flag.CommandLine)
	framework.RegisterCommonFlags(flag.CommandLine)
	framework.RegisterClusterFlags(flag.CommandLine)
	flag.Parse()
	testfiles.AddFileSource(e2etestingmanifests.GetE2ETestingManifestsFS())
	testfiles.AddFileSource(testfiles.RootFileSource{Root: framework.TestContext.RepoRoot})
	framework.AfterReadingAllFlags(&framework.TestContext)
	os.Exit(m.Run())
}

func TestStorage(t *testing.T) {
	suiteConfig, reporterConfig := framework.CreateGinkgoConfig()
	if framework.TestContext.KubeConfig == "" && !suiteConfig.DryRun {
		t.Skip("the suite needs a cluster: make e2e")
	}
	gomega.RegisterFailHandler(framework.Fail)
	// Not at the top level: the framework goes through all specs before, without running them, which would be
	// recorded, and what ginkgo hands on from there to here lacks such nodes.
	ginkgo.ReportAfterEach(record)
	ginkgo.RunSpecs(t, "Kubernetes storage", suiteConfig, reporterConfig)
}

// record writes a result down as soon as it is known: a run that is ended loses only the specs it was
// at. Specs that were not asked for are reported as skipped too, but without a reason.
func record(report ginkgo.SpecReport) {
	path := os.Getenv(stateVariable)
	unasked := report.State.Is(types.SpecStateSkipped) && report.Failure.Message == ""
	if path == "" || unasked || report.LeafNodeType != types.NodeTypeIt {
		return
	}
	if !report.State.Is(types.SpecStateFailureStates) {
		report.CapturedGinkgoWriterOutput, report.CapturedStdOutErr, report.SpecEvents = "", "", nil
	}
	if err := appendLine(path, report); err != nil {
		framework.Failf("write the result down in %s: %v", path, err)
	}
}

// appendLine writes in one call, so that processes that write at once do not mix their lines.
func appendLine(path string, report ginkgo.SpecReport) error {
	line, err := json.Marshal(report)
	if err != nil {
		return err
	}
	file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	if _, err := file.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("%w (and %v)", err, file.Close())
	}
	return file.Close()
}
