package zfs_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/zfs-csi/zfs-csi/zfs"
	"github.com/zfs-csi/zfs-csi/zfs/zfstest"
)

// free locks nothing, as where no call is under way.
func free(zfs.VolumeID) func() { return func() {} }

// localOfTwo returns the store on two parents.
func localOfTwo(t *testing.T, run zfs.Runner, first, second zfs.Dataset) *zfs.Local {
	t.Helper()
	l, err := zfs.NewLocal(zfs.LocalConfig{
		Driver: zfstest.Driver, Parents: []zfs.Dataset{first, second}, DeviceDir: t.TempDir(), Runner: run,
	})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestSweepBeside: a clone that was cut off before it had its properties goes, also where its source is below another
// parent in the pool. What somebody else cloned stays.
func TestSweepBeside(t *testing.T) {
	pool := zfstest.NewPool(t, 256<<20)
	a, b, foreign := pool.Parent(t, "a", zfstest.Driver), pool.Parent(t, "b", zfstest.Driver), pool.Parent(t, "foreign", "another.driver")
	source, theirs := a.String()+"/source", foreign.String()+"/source"
	for _, l := range []*zfs.Local{localOfTwo(t, run, a, b), localOfTwo(t, run, b, a)} {
		zfstest.Run(t, "zfs", "create", "-u", "-o", "zfs-csi:volume=source", source)
		zfstest.Run(t, "zfs", "create", "-u", "-o", "zfs-csi:volume=source", theirs)
		for _, clone := range []struct{ of, name, properties string }{
			{source + "@clone-0badc0de-1", "bare", "zfs-csi:kind=clone-0badc0de-1 zfs-csi:for=bare"},
			{source + "@clone-0badc0de-2", "of-another", "zfs-csi:kind=clone-0badc0de-2 zfs-csi:for=bare"},
			{source + "@theirs", "of-theirs", "org.example:for=of-theirs"},
			{theirs + "@clone-0badc0de-3", "of-another-driver", "zfs-csi:kind=clone-0badc0de-3 zfs-csi:for=of-another-driver"},
		} {
			snapshot := []string{"snapshot"}
			for property := range strings.FieldsSeq(clone.properties) {
				snapshot = append(snapshot, "-o", property)
			}
			zfstest.Run(t, "zfs", append(snapshot, clone.of)...)
			zfstest.Run(t, "zfs", "clone", clone.of, b.String()+"/"+clone.name)
		}
		finished := b.String() + "/finished"
		zfstest.Run(t, "zfs", "snapshot", "-o", "zfs-csi:kind=clone-0badc0de-4", "-o", "zfs-csi:for=finished", source+"@clone-0badc0de-4")
		zfstest.Run(t, "zfs", "clone", "-o", "zfs-csi:volume=finished", source+"@clone-0badc0de-4", finished)
		if err := l.Sweep(t.Context(), free); err != nil {
			t.Fatal(err)
		}
		left := zfstest.Run(t, "zfs", "list", "-Hro", "name", b.String())
		want := []string{b.String(), finished, b.String() + "/of-another", b.String() + "/of-another-driver", b.String() + "/of-theirs"}
		if left != strings.Join(want, "\n") {
			t.Errorf("with the parents %s there is\n%s\nwant\n%s", l.Parents(), left, strings.Join(want, "\n"))
		}
		of := zfstest.Run(t, "zfs", "list", "-Hrt", "snapshot", "-o", "name", a.String())
		if strings.Contains(of, "@clone-0badc0de-1") {
			t.Errorf("the snapshot of the bare clone is left:\n%s", of)
		}
		zfstest.Run(t, "zfs", "destroy", "-R", source)
		zfstest.Run(t, "zfs", "destroy", "-R", theirs)
	}
}

// TestSweepAway: below what is there all is swept, also where a pool is away, and below parents that are named alone.
func TestSweepAway(t *testing.T) {
	pool, other := zfstest.NewPool(t, 256<<20), zfstest.NewPool(t, 256<<20)
	here, away := pool.Parent(t, "csi", zfstest.Driver), other.Parent(t, "csi", zfstest.Driver)
	l := localOfTwo(t, run, away, here)
	leave := func(parent zfs.Dataset) {
		zfstest.Run(t, "zfs", "create", "-u", "-o", "zfs-csi:kind=copy-0badc0de-1", parent.String()+"/.copy-x")
	}
	swept := func(parent zfs.Dataset) bool {
		return zfstest.Run(t, "zfs", "list", "-Hro", "name", parent.String()) == parent.String()
	}
	leave(here)
	leave(away)
	imports := other.Export(t)
	if err := l.Sweep(t.Context(), free); !errors.Is(err, zfs.ErrUnavailable) || !swept(here) {
		t.Errorf("while a pool is away: %v, and what is there was swept: %t", err, swept(here))
	}
	leave(here)
	if err := l.Sweep(t.Context(), free, away); !errors.Is(err, zfs.ErrUnavailable) || swept(here) {
		t.Errorf("below what is away alone: %v, and what is there was swept: %t", err, swept(here))
	}
	imports()
	if err := l.Sweep(t.Context(), free, away); err != nil || !swept(away) || swept(here) {
		t.Errorf("when the pool is back: %v, and it was swept: %t, the other: %t", err, swept(away), swept(here))
	}
	if err := l.Sweep(t.Context(), free); err != nil || !swept(here) {
		t.Errorf("in the end: %v, and all was swept: %t", err, swept(here))
	}
}
