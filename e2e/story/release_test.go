package story

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// chart is the folder of the Helm chart.
const chart = "../../manifests/chart"

// TestRelease: neither an upgrade nor the end of the Helm release touches a volume, its user, or what the cluster has besides;
// installed again, the driver goes on with the volumes. It is not parallel: the others need the driver.
func TestRelease(t *testing.T) {
	c := newCluster(t, "story-release")
	c.classes()
	kept := claim{"kept", "plain", "64Mi", filesystem, "", ""}
	c.make(kept)
	sum := c.fill(kept)
	values := c.helm("", "get", "values", release, "--output", "yaml")

	c.helm("", "upgrade", release, chart, "--reuse-values", "--set", "driver.log.level=debug")
	c.driverReady()
	c.holds(kept, sum)

	others := func() string { return c.kubectl("get", "crd,pv", "--output", "name") }
	before := others()
	c.helm("", "uninstall", release, "--wait", "--timeout", patience.String())
	if after := others(); after != before {
		t.Errorf("of the cluster's\n%s\nthere are left\n%s", before, after)
	}
	c.holds(kept, sum)

	c.helm(values, "install", release, chart, "--values", "-")
	c.driverReady()
	c.holds(kept, sum)
	c.remove(kept)
}

// helm runs Helm in the namespace of the release.
func (c *cluster) helm(stdin string, args ...string) string {
	c.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "helm", append([]string{"--kubeconfig", os.Getenv(kubeconfigVariable), "--namespace", release}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.Output()
	if err != nil {
		c.Fatalf("helm %s: %v", strings.Join(args, " "), err)
	}
	return string(out)
}

// driverReady waits until the driver's pod is of the newest revision, and ready.
func (c *cluster) driverReady() {
	c.Helper()
	c.kubectl("--namespace="+release, "rollout", "status", "daemonset/"+release, "--timeout="+patience.String())
}
