package history_test

import (
	"context"
	"path"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/zfs-csi/zfs-csi/driver"
	"github.com/zfs-csi/zfs-csi/e2e/service"
	"github.com/zfs-csi/zfs-csi/zfs"
)

// storage is what the driver keeps its volumes on, and what the side of the test does there.
// Most of it is what storetest.Backend is too. It serves one history after the other.
type storage interface {
	// test returns the test that the storage is made for.
	test() testing.TB
	// dear tells that a call costs a good part of a second.
	dear() bool
	// patience is more than a call needs, also the repetition of one that is ABORTED.
	patience() time.Duration
	// fresh takes away what a history that failed has left.
	fresh(t testing.TB)
	// serve starts a driver on a socket; all that it starts have the same volumes.
	serve(t testing.TB, socket string) (*service.Service, error)
	// elsewhere returns a parent in another pool than the default's.
	elsewhere() string
	// listing describes to people, one a line, all that there is.
	listing(t testing.TB) string
	// use lets a pod use a published volume, until release is called.
	use(t testing.TB, id zfs.VolumeID, at service.Place) (release func())
	// unmount takes a volume from its place without the driver.
	unmount(at service.Place)
	// foreign tells whether there is ForeignSnapshot.
	foreign() bool

	Contents(t testing.TB) []string
	Settled(t testing.TB)
	// Write returns an error only where the power was cut meanwhile.
	Write(t testing.TB, id zfs.VolumeID, text string) error
	Read(t testing.TB, id zfs.VolumeID) string
	Property(t testing.TB, id zfs.VolumeID, name string) string
	// properties returns those that can be modified of all volumes, by their IDs, as `zfs get -Hp` prints them.
	properties(t testing.TB) map[string]map[string]string
	ForeignSnapshot(t testing.TB, id zfs.VolumeID, name string)
}

// vacate unpublishes a volume that nobody uses any more. A command that another test starts just now holds all that
// is open, for a moment.
func vacate(ctx context.Context, s *service.Service, id string, at service.Place) error {
	for deadline := time.Now().Add(time.Minute); ; {
		err := s.Unpublish(ctx, id, at)
		if status.Code(err) != codes.FailedPrecondition || time.Now().After(deadline) {
			return err
		}
		time.Sleep(10 * time.Millisecond) // between two calls
	}
}

// modifiable are the properties that histories modify.
const modifiable = "compression,atime,refreservation"

// parseProperties reads what `zfs get -H -o name,property,value` prints.
func parseProperties(out string) map[string]map[string]string {
	all := map[string]map[string]string{}
	for line := range strings.Lines(out) {
		fields := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		id := path.Base(fields[0])
		if all[id] == nil {
			all[id] = map[string]string{}
		}
		all[id][fields[1]] = fields[2]
	}
	return all
}

// config returns what a driver with a store is made from.
func config(store zfs.Store) driver.Config {
	return driver.Config{Name: driverName, Version: "test", NodeID: "node-1", Store: store, Log: warnings}
}
