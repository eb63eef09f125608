package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/zfs-csi/zfs-csi/driver"
	"github.com/zfs-csi/zfs-csi/zfs/zfstest"
)

// TestInitPoolFileOnZFS: the command makes a pool in a file with a parent in it, as often as it is run, and says what it did.
func TestInitPoolFileOnZFS(t *testing.T) {
	pool, dir := zfstest.NoPool(t)
	file, parent := filepath.Join(dir, "disk", "pool.img"), pool+"/csi"
	initialise := func(code int, says ...string) {
		t.Helper()
		got := runWith(t.Context(), map[string]string{"ZFS_CSI_POOL_FILE": file, "ZFS_CSI_POOL_NOTE_DIR": filepath.Join(dir, "notes")}, "init", "--pool-size", "96Mi", parent)
		for _, words := range says {
			if got.code != code || !strings.Contains(got.stdout+got.stderr, words) {
				t.Fatalf("exit code %d, it says\n%s%swant %d and %q", got.code, got.stdout, got.stderr, code, words)
			}
		}
	}
	initialise(exitOK, "pool "+pool+" is made in "+file, parent+" is made and marked for "+driver.DefaultName)
	initialise(exitOK, "was imported from "+file+" before: nothing changed", parent+" was marked")
	zfstest.Run(t, "zpool", "export", pool)
	initialise(exitOK, "pool "+pool+" is imported from "+file, parent+" was marked")

	zfstest.Run(t, "zpool", "destroy", pool)
	initialise(exitFailed, "was destroyed")
}
