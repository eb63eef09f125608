package history_test

import (
	"crypto/sha256"
	"encoding/hex"
	"math/rand/v2"
	"slices"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/zfs-csi/zfs-csi/e2e/service"
)

const mib = 1 << 20

// The names that callers use, few, so that those of what is gone come again; and how many
// volumes, snapshots and groups there are at once.
var (
	volumeNames   = []string{"a", "b", "c", "d", "e"}
	snapshotNames = []string{"s", "t", "u", "v"}
	groupNames    = []string{"g", "h"}
)

// model is what must be there. What is in it stands in the order in which it was made.
type model struct {
	volumes   []*volume
	snapshots []*snapshot
	groups    []*group
	unsure    []*unsure
	steps     int // checks so far
	writes    int
}

// volume is a live volume.
type volume struct {
	id, name string
	kind     kind
	parent   string // empty for the default
	size     int64
	text     string // see content
	request  *csi.CreateVolumeRequest
	// modified are the mutable parameters that were set last.
	modified map[string]string
	// source and from are what it was made from, nil for nothing.
	source *volume
	from   *snapshot
	// foreign counts the snapshots that somebody else took.
	foreign int
	// release ends its use by a pod; nil when it is not published.
	release func()
}

// snapshot is a live snapshot. The volume it was taken of may be gone.
type snapshot struct {
	id, name string
	of       *volume
	size     int64
	text     string
	created  *timestamppb.Timestamp
	group    *group // nil for none
	checked  int    // the step at which it was last restored
}

// group is a live group of snapshots.
type group struct {
	id, name  string
	snapshots []*snapshot
}

// kind is a kind of volumes.
type kind struct {
	name       string
	capability *csi.VolumeCapability
	// mutable are the values of mutable parameters that are tried, by their keys.
	mutable map[string][]string
}

var kinds = []kind{
	{"dataset", service.Mount(""), map[string][]string{
		"zfs.compression": {"lz4", "zstd", "off"}, "zfs.atime": {"on", "off"}, "provisioning": {"thick", "thin"},
	}},
	{"zvol", service.Block(), map[string][]string{"zfs.compression": {"lz4", "zstd", "off"}, "provisioning": {"thick", "thin"}}},
}

// contentSize is as much as storage writes at once to a zvol, in bytes.
const contentSize = 4096

// content returns what a text is kept as: itself, and what follows from it and takes all of contentSize, so that
// nothing stays of what was there before, and no moment that is left over goes unseen. No text is an empty volume.
func content(text string) string {
	if text == "" {
		return ""
	}
	fill := make([]byte, (contentSize-len(text))/2)
	_, _ = rand.NewChaCha8(sha256.Sum256([]byte(text))).Read(fill) // never fails
	return text + "\n" + hex.EncodeToString(fill)[:contentSize-len(text)-1]
}

// free returns the names that nothing live has, nor anything that may be.
func (m *model) free(names []string, live func(name string) bool) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		return live(name) || slices.ContainsFunc(m.unsure, func(u *unsure) bool { return u.name == name })
	})
}

func (m *model) freeVolumeNames() []string {
	return m.free(volumeNames, func(name string) bool {
		return slices.ContainsFunc(m.volumes, func(v *volume) bool { return v.name == name })
	})
}

func (m *model) freeSnapshotNames() []string {
	return m.free(snapshotNames, func(name string) bool {
		return slices.ContainsFunc(m.snapshots, func(s *snapshot) bool { return s.name == name })
	})
}

func (m *model) freeGroupNames() []string {
	return m.free(groupNames, func(name string) bool {
		return slices.ContainsFunc(m.groups, func(g *group) bool { return g.name == name })
	})
}

// where returns the volumes that are so.
func (m *model) where(so func(*volume) bool) (out []*volume) {
	for _, v := range m.volumes {
		if so(v) {
			out = append(out, v)
		}
	}
	return out
}

// near returns the live snapshots that a deletion of v could do something to: those of v and of
// its next relatives, which it may promote, and the one v was restored from. What is
// further off it could reach only through those.
func (m *model) near(v *volume) (out []*snapshot) {
	for _, s := range m.snapshots {
		if s == v.from || s.of == v || s.of == v.source || s.of.source == v || v.from != nil && s.of == v.from.of || s.of.from != nil && s.of.from.of == v {
			out = append(out, s)
		}
	}
	return out
}

func remove[T comparable](from []T, x T) []T {
	return slices.DeleteFunc(from, func(y T) bool { return y == x })
}
