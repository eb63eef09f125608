package story

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// image has a shell and the usual tools.
const image = "registry.k8s.io/e2e-test-images/busybox:1.37.0-1"

// mode is a volume mode: how a pod has the volume, and how it writes to it.
type mode struct {
	name string
	// use is what a container says of the volume "data".
	use string
	// file is what holds the content there.
	file string
}

var (
	filesystem = mode{"Filesystem", "volumeMounts: [{name: data, mountPath: /data}]", "/data/content"}
	block      = mode{"Block", "volumeDevices: [{name: data, devicePath: /dev/data}]", "/dev/data"}
)

// claim is a PersistentVolumeClaim.
type claim struct {
	name, class, size string
	mode              mode
	// source is what it is made of, such as "PersistentVolumeClaim/a"; empty for nothing.
	source string
	// file is the example that makes the claim, as it stands; empty for none.
	file string
}

// example returns what stands in a file of the examples.
func (c *cluster) example(file string) string {
	c.Helper()
	text, err := os.ReadFile(filepath.Join("../../manifests/examples", file))
	if err != nil {
		c.Fatal(err)
	}
	return string(text)
}

// yaml returns the object, of a class of the namespace; see classes.
func (c *cluster) yaml(k claim) string {
	c.Helper()
	if k.file != "" {
		return c.example(k.file)
	}
	text := fmt.Sprintf(`apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: %s}
spec:
  storageClassName: %s
  volumeMode: %s
  accessModes: [ReadWriteOnce]
  resources: {requests: {storage: %s}}
`, k.name, c.class(k.class), k.mode.name, k.size)
	if kind, name, found := strings.Cut(k.source, "/"); found {
		group := ""
		if kind == "VolumeSnapshot" {
			group = "apiGroup: snapshot.storage.k8s.io, "
		}
		text += fmt.Sprintf("  dataSource: {%skind: %s, name: %s}\n", group, kind, name)
	}
	return text
}

// pod starts a pod that has a claim's volume, and waits until it runs.
func (c *cluster) pod(name string, k claim) {
	c.Helper()
	c.startPod(name, k)
	c.wait("pod/"+name, ready)
}

// startPod is pod for one that perhaps never runs.
func (c *cluster) startPod(name string, k claim) {
	c.Helper()
	c.apply(fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata: {name: %s}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: %s
    command: [sleep, "100000"]
    %s
  volumes: [{name: data, persistentVolumeClaim: {claimName: %s}}]
`, name, image, k.mode.use, k.name))
}

// make makes a claim and a pod of the same name that has its volume.
func (c *cluster) make(k claim) {
	c.Helper()
	c.apply(c.yaml(k))
	c.pod(k.name, k)
}

// remove removes a claim, and its pod first.
func (c *cluster) remove(k claim) {
	c.Helper()
	volume := c.kubectl("get", "pvc", k.name, "-o", "jsonpath={.spec.volumeName}")
	c.kubectl("delete", "pod", k.name, "--ignore-not-found", "--timeout="+patience.String())
	c.kubectl("delete", "pvc", k.name, "--timeout="+patience.String())
	if volume != "" {
		c.wait("pv/"+volume, gone)
	}
}

// exec runs a shell command in the pod of a claim.
func (c *cluster) exec(k claim, command string) string {
	c.Helper()
	return c.kubectl("exec", k.name, "--", "sh", "-c", command)
}

// contentSize is how much is written, in KiB.
const contentSize = 2048

// fill replaces what a volume holds by random bytes, on stable storage, and returns their sum.
func (c *cluster) fill(k claim) string {
	c.Helper()
	c.exec(k, fmt.Sprintf("dd if=/dev/urandom of=%s bs=1k count=%d conv=notrunc,fsync 2>&1", k.mode.file, contentSize))
	return c.sum(k)
}

// sum returns the sum of what a volume holds.
func (c *cluster) sum(k claim) string {
	c.Helper()
	out := c.exec(k, fmt.Sprintf("dd if=%s bs=1k count=%d 2>/dev/null | sha256sum", k.mode.file, contentSize))
	sum, _, _ := strings.Cut(out, " ")
	if len(sum) != 64 {
		c.Fatalf("the sum of %s is %q", k.name, out)
	}
	return sum
}

// holds checks the sum of what a volume holds.
func (c *cluster) holds(k claim, sum string) {
	c.Helper()
	if got := c.sum(k); got != sum {
		c.Errorf("%s holds %s, want %s", k.name, got, sum)
	}
}
