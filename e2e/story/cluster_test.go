// Package story holds the driver's main job as a user of Kubernetes sees it: objects in, objects
// and bytes out, all through kubectl. It is skipped without a cluster; `make test-cluster` brings one.
package story

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

const (
	// kubeconfigVariable names the file that tells of the cluster. KUBECONFIG would not do: the
	// tests are not to run in whatever cluster somebody works with.
	kubeconfigVariable = "ZFS_CSI_KUBECONFIG"
	// kubectlVariable names the program; without it is that of the PATH.
	kubectlVariable = "ZFS_CSI_KUBECTL"
	// patience is how long a state is waited for, which takes seconds where nothing is emulated.
	patience = 6 * time.Minute
	// driver is the name of the driver in the cluster.
	driver = "zfs-csi.github.io"
	// release is the name of the Helm release, and of its namespace.
	release = "zfs-csi"
	// documented is the namespace that the example of the Kubernetes documentation has.
	documented = "myns"
)

// cluster is a namespace of a cluster, in which all ends with the test.
type cluster struct {
	*testing.T
	namespace string
}

// newCluster makes a namespace of that name.
func newCluster(t *testing.T, namespace string) *cluster {
	t.Helper()
	if os.Getenv(kubeconfigVariable) == "" {
		t.Skipf("%s is not set: a cluster is needed, see `make help`", kubeconfigVariable)
	}
	c := &cluster{t, namespace}
	c.apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: " + namespace + "}")
	t.Cleanup(func() {
		if t.Failed() {
			c.describe()
		}
		c.kubectl("delete", "namespace", namespace, "--ignore-not-found", "--timeout="+patience.String())
		c.noVolumes()
	})
	return c
}

// try runs kubectl in the namespace and returns what it prints.
func (c *cluster) try(stdin string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	kubectl := os.Getenv(kubectlVariable)
	if kubectl == "" {
		kubectl = "kubectl"
	}
	cmd := exec.CommandContext(ctx, kubectl, append([]string{"--kubeconfig", os.Getenv(kubeconfigVariable), "--namespace", c.namespace}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, stderr.String())
	}
	return strings.TrimSpace(string(out)), nil
}

// kubectl is try for what must succeed.
func (c *cluster) kubectl(args ...string) string {
	c.Helper()
	out, err := c.try("", args...)
	if err != nil {
		c.Fatal(err)
	}
	return out
}

// apply makes or changes objects.
func (c *cluster) apply(yaml string) {
	c.Helper()
	// To check it kubectl would ask for the descriptions of all kinds, which the server takes long to write in emulation.
	if _, err := c.try(yaml, "apply", "--validate=false", "-f", "-"); err != nil {
		c.Fatalf("%v\nof\n%s", err, yaml)
	}
}

// applyOnce makes objects that belong to no namespace, and removes them in the end.
func (c *cluster) applyOnce(yaml string) {
	c.Helper()
	c.apply(yaml)
	c.Cleanup(func() {
		if c.Failed() {
			c.describe() // The namespace may be among them.
		}
		if _, err := c.try(yaml, "delete", "--ignore-not-found", "-f", "-"); err != nil {
			c.Error(err)
		}
	})
}

// wait waits for a condition of an object, as `kubectl wait` has it.
func (c *cluster) wait(object, condition string) {
	c.Helper()
	if _, err := c.try("", "wait", "--for="+condition, object, "--timeout="+patience.String()); err != nil {
		c.Fatal(err)
	}
}

// Conditions of pods, of snapshots, and of all objects.
const (
	ready  = "condition=Ready"
	usable = "jsonpath={.status.readyToUse}=true"
	gone   = "delete"
)

// eventually polls until f returns nil.
func (c *cluster) eventually(what string, f func() error) {
	c.Helper()
	for deadline := time.Now().Add(patience); ; {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			c.Fatalf("not within %s: %s: %v", patience, what, err)
		}
		time.Sleep(time.Second) // between two polls
	}
}

// told waits until an event of a claim, of a failed provisioning, has the words in its message.
func (c *cluster) told(claim, words string) {
	c.Helper()
	const selector = "--field-selector=involvedObject.kind=PersistentVolumeClaim,reason=ProvisioningFailed,involvedObject.name="
	c.eventually("an event of "+claim+" says "+words, func() error {
		out, err := c.try("", "get", "events", selector+claim, "-o", "jsonpath={range .items[*]}{.message}{\"\\n\"}{end}")
		if err == nil && !strings.Contains(out, words) {
			err = fmt.Errorf("they say\n%s", out)
		}
		return err
	})
}

// noVolumes waits until the cluster has no volume of the driver that a claim of the namespace was bound to.
func (c *cluster) noVolumes() {
	c.Helper()
	c.eventually("the volumes are gone", func() error {
		out, err := c.try("", "get", "pv", "-o", "json")
		if err != nil {
			return err
		}
		var list struct {
			Items []struct {
				Metadata struct{ Name string }
				Spec     struct {
					ClaimRef struct{ Name, Namespace string }
				}
			}
		}
		if err := json.Unmarshal([]byte(out), &list); err != nil {
			return err
		}
		for _, v := range list.Items {
			if v.Spec.ClaimRef.Namespace == c.namespace {
				return fmt.Errorf("%s of claim %s is there", v.Metadata.Name, v.Spec.ClaimRef.Name)
			}
		}
		return nil
	})
}

// describe logs what there is, for who has to find out why the test failed.
func (c *cluster) describe() {
	for _, args := range [][]string{
		{"get", "pods,pvc,volumesnapshots,volumegroupsnapshots", "-o", "wide"},
		{"get", "events", "--sort-by=.lastTimestamp"},
		{"get", "pv,storageclasses"},
	} {
		out, err := c.try("", args...)
		c.Logf("kubectl %s\n%s\n%v", strings.Join(args, " "), out, err)
	}
}
