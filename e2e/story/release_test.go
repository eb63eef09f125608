package story

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
)

const (
	// chart is the folder of the Helm chart.
	chart = "../../manifests/chart"
	// another is a second release of it, and its namespace, on nodes that are not there.
	another       = "another"
	anotherValues = "driverName=another.example.com,pool.file.enabled=true,pool.file.name=another,nodeSelector.there=none,volumeAttributesClasses=null," +
		"storageClasses[0].name=another,volumeSnapshotClass.name=another,volumeGroupSnapshotClass.name=another"
)

// TestRelease: neither an upgrade nor the end of the Helm release touches a volume, its user, another release, or what the cluster
// has besides; installed again, the driver goes on with the volumes. It is not parallel: the others need the driver.
func TestRelease(t *testing.T) {
	c := newCluster(t, "story-release")
	c.classes()
	kept := claim{"kept", "plain", "64Mi", filesystem, "", ""}
	c.make(kept)
	sum := c.fill(kept)
	values := c.helm(release, "", "get", "values", release, "--output", "yaml")
	c.helm(another, "", "install", another, chart, "--create-namespace", "--set", anotherValues)
	c.Cleanup(func() {
		c.helm(another, "", "uninstall", another)
		c.kubectl("delete", "namespace", another, "--timeout="+patience.String())
	})

	c.helm(release, "", "upgrade", release, chart, "--reuse-values", "--set", "driver.log.level=debug")
	c.driverReady()
	c.holds(kept, sum)

	others := func() string {
		const notOurs = "--selector=app.kubernetes.io/instance!=" + release
		return c.kubectl("get", "crd,pv,csidrivers,storageclasses,volumesnapshotclasses,volumegroupsnapshotclasses,clusterroles,clusterrolebindings",
			notOurs, "--output=name") + "\n" +
			c.kubectl("get", "--all-namespaces", "daemonsets,deployments,serviceaccounts,roles,rolebindings", notOurs, "--output=name")
	}
	before := others()
	if !strings.Contains(before, "csidriver.storage.k8s.io/another.example.com") || !strings.Contains(before, "daemonset.apps/another") {
		t.Fatalf("the other release is not among\n%s", before)
	}
	installed := false
	c.Cleanup(func() {
		if !installed { // Other tests need it.
			c.helm(release, values, "upgrade", "--install", release, chart, "--values", "-")
		}
	})
	c.helm(release, "", "uninstall", release, "--wait", "--timeout", patience.String())
	if after := others(); after != before {
		t.Errorf("of the cluster's\n%s\nthere are left\n%s", before, after)
	}
	c.holds(kept, sum)

	c.helm(release, values, "install", release, chart, "--values", "-")
	installed = true
	c.driverReady()
	c.holds(kept, sum)
	c.remove(kept)
}

// helm runs Helm in a namespace and returns what it prints.
func (c *cluster) helm(namespace, stdin string, args ...string) string {
	c.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "helm", append([]string{"--kubeconfig", os.Getenv(kubeconfigVariable), "--namespace", namespace}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		c.Fatalf("helm %s: %v: %s", strings.Join(args, " "), err, stderr.String())
	}
	return string(out)
}

// driverReady waits until the driver's pod is of the newest revision, and ready.
func (c *cluster) driverReady() {
	c.Helper()
	c.kubectl("--namespace="+release, "rollout", "status", "daemonset/"+release, "--timeout="+patience.String())
}
