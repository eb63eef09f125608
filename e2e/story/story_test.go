package story

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
)

// classes makes the storage classes of these tests: "story", and "other" with properties of its own.
func (c *cluster) classes() {
	c.Helper()
	c.applyOnce(fmt.Sprintf(`apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: story}
provisioner: %[1]s
allowVolumeExpansion: true
volumeBindingMode: WaitForFirstConsumer
---
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: other}
provisioner: %[1]s
parameters: {zfs.compression: gzip-1, zfs.copies: "2"}
volumeBindingMode: WaitForFirstConsumer
---
apiVersion: snapshot.storage.k8s.io/v1
kind: VolumeSnapshotClass
metadata: {name: story}
driver: %[1]s
deletionPolicy: Delete
`, driver))
}

// TestStory is what the driver is for: a volume is cloned, and what is done to one shows in none
// of the others, whichever is deleted first.
func TestStory(t *testing.T) {
	for _, m := range modes {
		t.Run(m.name, func(t *testing.T) {
			c := newCluster(t, "story-"+strings.ToLower(m.name))
			c.classes()
			source := claim{"source", "story", "64Mi", m, ""}
			clone := claim{"clone", "story", "64Mi", m, "PersistentVolumeClaim/source"}
			second := claim{"second", "story", "96Mi", m, "PersistentVolumeClaim/clone"}
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
			c.size(second, 96)

			c.apply("apiVersion: snapshot.storage.k8s.io/v1\nkind: VolumeSnapshot\nmetadata: {name: moment}\n" +
				"spec: {volumeSnapshotClassName: story, source: {persistentVolumeClaimName: clone}}\n")
			c.wait("volumesnapshot/moment", usable)
			atMoment := ofClone
			ofClone = c.fill(clone)
			c.grow(clone, 128)
			c.holds(clone, ofClone)
			ofSecond := c.fill(second)
			c.remove(clone) // while its clone is in use and its snapshot lives
			c.holds(second, ofSecond)

			restored := claim{"restored", "story", "64Mi", m, "VolumeSnapshot/moment"}
			c.make(restored)
			c.kubectl("delete", "volumesnapshot", "moment", "--timeout="+patience.String())
			c.holds(restored, atMoment)

			// The other direction: the clone goes first.
			third := claim{"third", "story", "64Mi", m, "PersistentVolumeClaim/restored"}
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
		command = "echo $(($(df -k /data | tail -n 1 | awk '{print $2}') * 1024))"
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
	c.kubectl("patch", "pvc", k.name, "-p", fmt.Sprintf(`{"spec":{"resources":{"requests":{"storage":"%dMi"}}}}`, mib))
	c.size(k, mib)
	c.wait("pvc/"+k.name, fmt.Sprintf("jsonpath={.status.capacity.storage}=%dMi", mib))
}

// TestOtherClass: a clone has the properties of its own class.
func TestOtherClass(t *testing.T) {
	c := newCluster(t, "story-class")
	c.classes()
	source := claim{"source", "story", "64Mi", filesystem, ""}
	clone := claim{"clone", "other", "64Mi", filesystem, "PersistentVolumeClaim/source"}
	c.make(source)
	sum := c.fill(source)
	c.make(clone)
	c.holds(clone, sum)
}

// TestRefused: a claim that cannot be made of its source says why.
func TestRefused(t *testing.T) {
	c := newCluster(t, "story-refused")
	c.classes()
	source := claim{"source", "story", "64Mi", filesystem, ""}
	c.make(source)
	const of = "PersistentVolumeClaim/source"
	for _, test := range []struct {
		claim
		words string
	}{
		{claim{"smaller", "story", "32Mi", filesystem, of}, "size"},
		{claim{"other-mode", "story", "64Mi", block, of}, "volume mode"},
		{claim{"no-source", "story", "64Mi", filesystem, "PersistentVolumeClaim/absent"}, "absent"},
	} {
		c.apply(test.yaml())
		c.startPod(test.name, test.claim)
		c.told(test.name, test.words)
	}
}
