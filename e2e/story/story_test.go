package story

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
)

// class returns the whole name of a class that classes made: they belong to no namespace, and tests run side by side.
func (c *cluster) class(name string) string { return c.namespace + "-" + name }

// classes makes the storage classes of a test: "plain", and "other" with properties of its own; and the snapshot class "plain".
func (c *cluster) classes() {
	c.Helper()
	c.applyOnce(fmt.Sprintf(`apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: %[2]s}
provisioner: %[1]s
allowVolumeExpansion: true
volumeBindingMode: WaitForFirstConsumer
---
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: %[3]s}
provisioner: %[1]s
parameters: {zfs.compression: gzip-1, zfs.copies: "2"}
volumeBindingMode: WaitForFirstConsumer
---
apiVersion: snapshot.storage.k8s.io/v1
kind: VolumeSnapshotClass
metadata: {name: %[2]s}
driver: %[1]s
deletionPolicy: Delete
`, driver, c.class("plain"), c.class("other")))
}

// TestStory is what the driver is for: a volume is cloned, and what is done to one shows in none
// of the others, whichever is deleted first.
func TestStory(t *testing.T) {
	for _, begins := range []struct {
		mode          mode
		namespace     string
		source, clone claim
		// class is a file that the claims need.
		class string
		// size is that of the claims, larger what one is asked for, grown what one becomes, in MiB.
		size, larger, grown int64
	}{
		{
			filesystem, documented, claim{file: "cloning/2-pvc-1.yaml", name: "pvc-1"}, claim{file: "cloning/4-clone-of-pvc-1.yaml", name: "clone-of-pvc-1"},
			"cloning/1-class.yaml", 5 << 10, 6 << 10, 8 << 10,
		},
		{
			block, "story-block", claim{name: "source", class: "plain", size: "64Mi"},
			claim{name: "clone", class: "plain", size: "64Mi", source: "PersistentVolumeClaim/source"}, "", 64, 96, 128,
		},
	} {
		m := begins.mode
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t, begins.namespace)
			c.classes()
			if begins.class != "" {
				c.applyOnce(c.example(begins.class))
			}
			source, clone := begins.source, begins.clone
			source.mode, clone.mode = m, m
			second := claim{"second", "plain", quantity(begins.larger), m, "PersistentVolumeClaim/" + clone.name, ""}
			c.make(source)
			first := c.fill(source)

			c.make(clone)
			c.holds(clone, first)
			ofSource, ofClone := c.fill(source), c.fill(clone)
			c.holds(source, ofSource)
			c.holds(clone, ofClone)

			c.remove(source) // while the clone is in use
			c.holds(clone, ofClone)
			c.make(second) // a clone of a clone, larger
			c.holds(second, ofClone)
			c.size(second, begins.larger)

			c.apply("apiVersion: snapshot.storage.k8s.io/v1\nkind: VolumeSnapshot\nmetadata: {name: moment}\n" +
				"spec: {volumeSnapshotClassName: " + c.class("plain") + ", source: {persistentVolumeClaimName: " + clone.name + "}}\n")
			c.wait("volumesnapshot/moment", usable)
			atMoment := ofClone
			ofClone = c.fill(clone)
			c.grow(clone, begins.grown)
			c.holds(clone, ofClone)
			ofSecond := c.fill(second)
			c.remove(clone) // while its clone is in use and its snapshot lives
			c.holds(second, ofSecond)

			restored := claim{"restored", "plain", quantity(begins.size), m, "VolumeSnapshot/moment", ""}
			c.make(restored)
			c.kubectl("delete", "volumesnapshot", "moment", "--timeout="+patience.String())
			c.holds(restored, atMoment)

			// The other direction: the clone goes first.
			third := claim{"third", "plain", quantity(begins.size), m, "PersistentVolumeClaim/restored", ""}
			c.make(third)
			c.holds(third, atMoment)
			c.fill(third)
			c.remove(third)
			c.holds(restored, atMoment)
			c.remove(restored)
			c.holds(second, ofSecond)
			c.remove(second)
		})
	}
}

// size waits until the pod of a claim sees a volume of about so many MiB.
func (c *cluster) size(k claim, mib int64) {
	c.Helper()
	command := "blockdev --getsize64 /dev/data"
	if k.mode.name == filesystem.name {
		command = "echo $(($(df -P -k /data | tail -n 1 | awk '{print $2}') * 1024))"
	}
	c.eventually(fmt.Sprintf("%s has %d MiB", k.name, mib), func() error {
		got, err := strconv.ParseInt(c.exec(k, command), 10, 64)
		if err == nil && (got > mib<<20 || got < mib<<20*9/10) {
			err = fmt.Errorf("it has %d bytes", got)
		}
		return err
	})
}

// grow asks for a larger volume while it is in use.
func (c *cluster) grow(k claim, mib int64) {
	c.Helper()
	c.kubectl("patch", "pvc", k.name, "-p", fmt.Sprintf(`{"spec":{"resources":{"requests":{"storage":%q}}}}`, quantity(mib)))
	c.size(k, mib)
	c.wait("pvc/"+k.name, "jsonpath={.status.capacity.storage}="+quantity(mib))
}

// quantity returns a number of MiB as Kubernetes writes it.
func quantity(mib int64) string {
	if mib%1024 == 0 {
		return fmt.Sprintf("%dGi", mib/1024)
	}
	return fmt.Sprintf("%dMi", mib)
}

// TestOtherClass: a clone has the properties of its own class.
func TestOtherClass(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "story-class")
	c.classes()
	source := claim{"source", "plain", "64Mi", filesystem, "", ""}
	clone := claim{"clone", "other", "64Mi", filesystem, "PersistentVolumeClaim/source", ""}
	c.make(source)
	sum := c.fill(source)
	c.make(clone)
	c.holds(clone, sum)
	for name, wanted := range map[string]string{"compression": "gzip-1", "copies": "2"} {
		if got := c.property(clone, name); got != wanted {
			t.Errorf("%s of the clone is %q, want %q", name, got, wanted)
		}
		if got := c.property(source, name); got == wanted {
			t.Errorf("%s of the source is %q, as its clone's class has it", name, got)
		}
	}
}

// property returns a ZFS property of a claim's volume, as the driver's pod sees it.
func (c *cluster) property(k claim, name string) string {
	c.Helper()
	volume := c.kubectl("get", "pvc", k.name, "-o", "jsonpath={.spec.volumeName}")
	handle := c.kubectl("get", "pv", volume, "-o", "jsonpath={.spec.csi.volumeHandle}")
	list := c.kubectl("--namespace="+release, "exec", "daemonset/"+release, "--", "zfs", "get", "-H", "-o", "name,value", "-t", "filesystem,volume", name)
	for line := range strings.Lines(list) {
		dataset, value, _ := strings.Cut(strings.TrimSpace(line), "\t")
		if strings.HasSuffix(dataset, "/"+handle) {
			return value
		}
	}
	c.Fatalf("no dataset of %s (%s) is among\n%s", k.name, handle, list)
	return ""
}

// TestRefused: a claim that cannot be made of its source says why.
func TestRefused(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "story-refused")
	c.classes()
	source := claim{"source", "plain", "64Mi", filesystem, "", ""}
	c.make(source)
	const of = "PersistentVolumeClaim/source"
	for _, test := range []struct {
		claim
		words string
	}{
		{
			claim{"smaller", "plain", "32Mi", filesystem, of, ""},
			fmt.Sprintf("must be greater than or equal in size to the specified PVC data source, requested %d but source is %d", 32<<20, 64<<20),
		},
		{claim{"other-mode", "plain", "64Mi", block, of, ""}, "Source is Filesystem, but new PVC requested Block"},
		{claim{"no-source", "plain", "64Mi", filesystem, "PersistentVolumeClaim/absent", ""}, `"absent" not found`},
	} {
		c.apply(c.yaml(test.claim))
		c.startPod(test.name, test.claim)
		c.told(test.name, test.words)
	}
}
