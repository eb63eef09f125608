package zfs_test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/zfs-csi/zfs-csi/zfs"
	"github.com/zfs-csi/zfs-csi/zfs/zfstest"
)

// fill writes to a filesystem until there is no room in it, and then the little more that ZFS lets in.
func fill(t *testing.T, d zfs.Dataset) {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount(d.String(), dir, "zfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	}()
	block := make([]byte, 1<<20)
	for n := 0; ; n++ {
		_, _ = rand.Read(block) // It never fails.
		err := os.WriteFile(filepath.Join(dir, strconv.Itoa(n)), block, 0o600)
		if errors.Is(err, unix.EDQUOT) || errors.Is(err, unix.ENOSPC) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// number reads a property that is a number of bytes.
func number(t *testing.T, property string, d zfs.Dataset) int64 {
	t.Helper()
	n, err := strconv.ParseInt(zfstest.Run(t, "zfs", "get", "-Hpo", "value", property, d.String()), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestFullFilesystem: a filesystem that is full, which then holds a little more than its quota, is cloned,
// restored and copied at its own size, and so is what was made of it.
func TestFullFilesystem(t *testing.T) {
	first, second := zfstest.NewPool(t, 512<<20), zfstest.NewPool(t, 256<<20)
	l, err := zfs.NewLocal(zfs.LocalConfig{
		Driver: zfstest.Driver, DeviceDir: t.TempDir(), Runner: zfs.Exec{Log: slog.New(slog.DiscardHandler)},
		Parents: []zfs.Dataset{first.Parent(t, "csi", zfstest.Driver), second.Parent(t, "csi", zfstest.Driver)},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, thick := range []bool{false, true} {
		v, err := l.Create(t.Context(), zfs.VolumeIDFor(fmt.Sprint("source-", thick), l.Parents()[0]), zfs.Spec{
			Parent: l.Parents()[0], Kind: zfs.Filesystem, Size: 16 << 20, Thick: thick, Attributes: zfs.Attributes{Name: "source"},
		})
		if err != nil {
			t.Fatal(err)
		}
		fill(t, v.Dataset)
		zfstest.Run(t, "zpool", "sync", first.Name)
		if held := number(t, "referenced", v.Dataset); held <= v.Size {
			t.Fatalf("the filesystem of %d bytes holds %d: this proves nothing", v.Size, held)
		}
		snapshot := take(t, l, v, fmt.Sprint("s-", thick))
		volumes := []*zfs.Volume{v}
		plan := func(parent zfs.Dataset, full bool) zfs.Plan {
			return func(source *zfs.Volume) (zfs.CloneSpec, error) {
				return zfs.CloneSpec{Copy: full, Spec: zfs.Spec{
					Parent: parent, Kind: source.Kind, Size: source.Size, Thick: thick, Attributes: zfs.Attributes{Name: "made"},
				}}, nil
			}
		}
		made := func(what string, f func(zfs.VolumeID) (*zfs.Volume, error)) zfs.VolumeID {
			t.Helper()
			id := zfs.VolumeIDFor(fmt.Sprintf("%s-%t", what, thick), l.Parents()[0])
			if _, err := f(id); err != nil {
				t.Fatalf("%s of a full filesystem: %v", what, err)
			}
			m, err := l.Get(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			if m.Size != v.Size || m.Thick != thick {
				t.Errorf("%s of a full filesystem is %+v, want its size %d", what, m, v.Size)
			}
			if free := number(t, "available", m.Dataset); free != 0 {
				t.Errorf("%s of a full filesystem has room for %d bytes", what, free)
			}
			volumes = append(volumes, m)
			return id
		}
		clone := made("clone", func(id zfs.VolumeID) (*zfs.Volume, error) {
			return l.Clone(t.Context(), id, v.ID, plan(l.Parents()[0], false))
		})
		if !thick {
			made("clone of the clone", func(id zfs.VolumeID) (*zfs.Volume, error) {
				return l.Clone(t.Context(), id, clone, plan(l.Parents()[0], false))
			})
			made("restored volume", func(id zfs.VolumeID) (*zfs.Volume, error) {
				return l.Restore(t.Context(), id, snapshot, plan(l.Parents()[0], false))
			})
			made("copy", func(id zfs.VolumeID) (*zfs.Volume, error) {
				return l.Clone(t.Context(), id, v.ID, plan(l.Parents()[0], true))
			})
			made("copy in another pool", func(id zfs.VolumeID) (*zfs.Volume, error) {
				return l.Restore(t.Context(), id, snapshot, plan(l.Parents()[1], false))
			})
		}
		for _, m := range volumes[:2] {
			// As asked again, and then larger.
			for _, size := range []int64{m.Size, m.Size + 4<<10, m.Size + 8<<20} {
				if grown, err := l.Resize(t.Context(), m.ID, size); err != nil || grown.Size != size {
					t.Errorf("%s grown to %d bytes is %+v: %v", m.ID, size, grown, err)
				}
				if again, err := l.Get(t.Context(), m.ID); err != nil || again.Size != size {
					t.Errorf("%s after it has grown to %d bytes is %+v: %v", m.ID, size, again, err)
				}
			}
			if quota := number(t, "refquota", m.Dataset); quota != m.Size+8<<20 {
				t.Errorf("%s has grown by 8 MiB to %d, and its quota is %d", m.ID, m.Size+8<<20, quota)
			}
		}
		if err := l.DeleteSnapshot(t.Context(), snapshot); err != nil {
			t.Error(err)
		}
		for _, m := range volumes {
			if err := l.Delete(t.Context(), m.ID); err != nil {
				t.Error(err)
			}
		}
	}
	for _, parent := range l.Parents() {
		if left := zfstest.Run(t, "zfs", "list", "-Hr", "-t", "all", "-o", "name", parent.String()); strings.Contains(left, "\n") {
			t.Errorf("there is left:\n%s", left)
		}
	}
}

// TestFullTombstone: what was written to a full filesystem after its snapshot is freed when it is deleted.
func TestFullTombstone(t *testing.T) {
	l := newLocal(t)
	v := newVolume(t, l, zfs.Filesystem, nil)
	fill(t, v.Dataset)
	zfstest.Run(t, "zpool", "sync", v.Dataset.Pool())
	snapshot := take(t, l, v, "s")
	held := number(t, "used", v.Parent)
	if referenced := number(t, "referenced", v.Dataset); referenced <= v.Size {
		t.Fatalf("the filesystem of %d bytes holds %d: this proves nothing", v.Size, referenced)
	}
	dir := t.TempDir()
	if err := unix.Mount(v.Dataset.String(), dir, "zfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if err := os.Remove(f); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Unmount(dir, 0); err != nil {
		t.Fatal(err)
	}
	zfstest.Run(t, "zpool", "sync", v.Dataset.Pool())
	fill(t, v.Dataset)
	if err := l.Delete(t.Context(), v.ID); err != nil {
		t.Fatal(err)
	}
	zfstest.Run(t, "zpool", "sync", v.Dataset.Pool())
	if now := number(t, "used", v.Parent); now > held+1<<20 {
		t.Errorf("the snapshot alone holds %d bytes, and with the deleted volume it is %d", held, now)
	}
	if err := l.DeleteSnapshot(t.Context(), snapshot); err != nil {
		t.Error(err)
	}
}
