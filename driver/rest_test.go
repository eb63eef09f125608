package driver

import (
	"errors"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
)

// Each call that takes a snapshot of a filesystem on a zvol does so while that is at rest, and lets it go on
// whether the call succeeds or fails.
func TestSnapshotsAtRest(t *testing.T) {
	eachType(t, func(n *node, u use) {
		paths := []string{n.staged("a", u), n.staged("b", u)}
		for name, call := range map[string]struct {
			// of is how many of the volumes it takes a snapshot of.
			of   int
			call func(name string) error
		}{
			"clone": {1, func(name string) error {
				_, err := n.CreateVolume(n.context(), &csi.CreateVolumeRequest{
					Name: name, VolumeCapabilities: []*csi.VolumeCapability{mountCapability(u.fsType, multiWriter)},
					VolumeContentSource: &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Volume{
						Volume: &csi.VolumeContentSource_VolumeSource{VolumeId: "a"},
					}},
				})
				return err
			}},
			"snapshot": {1, func(name string) error {
				_, err := n.CreateSnapshot(n.context(), &csi.CreateSnapshotRequest{Name: name, SourceVolumeId: "a"})
				return err
			}},
			"group snapshot": {2, func(name string) error {
				_, err := n.CreateVolumeGroupSnapshot(n.context(), &csi.CreateVolumeGroupSnapshotRequest{
					Name: name, SourceVolumeIds: []string{"a", "b"},
				})
				return err
			}},
		} {
			for _, fails := range []bool{true, false} {
				taken := 0
				n.store.atRest = func() error {
					taken++
					for i, path := range paths {
						if rests := frozen(n.T, path); rests != (i < call.of) {
							n.Errorf("%s: that %s is at rest is %t", name, path, rests)
						}
					}
					if fails {
						return errors.New("out of luck")
					}
					return nil
				}
				err := call.call("of-" + name)
				if fails == (err == nil) || taken != 1 {
					n.Errorf("%s: error %v, %d snapshots taken", name, err, taken)
				}
				for _, path := range paths {
					if frozen(n.T, path) {
						n.Errorf("%s, which fails: %t: %s is left at rest", name, fails, path)
					}
				}
			}
		}
	})
}

// A group of which one volume cannot be brought to rest leaves none at rest.
func TestGroupHalfAtRest(t *testing.T) {
	eachType(t, func(n *node, u use) {
		a := n.staged("a", u)
		n.staged("b", u)
		n.store.devices[n.store.Parents()[0].String()+"/b"] = n.dir + "/absent"
		_, err := n.CreateVolumeGroupSnapshot(n.context(), &csi.CreateVolumeGroupSnapshotRequest{Name: "g", SourceVolumeIds: []string{"a", "b"}})
		n.want(err, codes.Internal, "absent")
		if frozen(n.T, a) {
			n.Error("the first of the group is left at rest")
		}
	})
}
