package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/zfs-csi/zfs-csi/driver"
	"github.com/zfs-csi/zfs-csi/zfs/zfstest"
)

// TestCheckOnZFS: the command says of a real machine what is well, what is not, and what to
// do about it. A pool without its redundancy still serves volumes, so that is a warning.
func TestCheckOnZFS(t *testing.T) {
	pool := zfstest.NewPool(t, 4<<30)
	parent := pool.Parent(t, "csi", driver.DefaultName).String()
	check := func(code int, parent string, says ...string) {
		t.Helper()
		got := runWith(t.Context(), nil, "check", "--parent", parent, "--kubelet-dir", filepath.Join(t.TempDir(), "none"))
		if got.code != code {
			t.Errorf("exit code %d, want %d", got.code, code)
		}
		for _, words := range says {
			if !strings.Contains(got.stdout, words) {
				t.Errorf("it does not say %q", words)
			}
		}
		if t.Failed() {
			t.Fatalf("it said\n%s%s", got.stdout, got.stderr)
		}
	}
	check(exitOK, parent,
		"[ok]   module: OpenZFS ",
		"[ok]   pool "+pool.Name+": it is imported and healthy\n",
		"[ok]   parent "+parent+": it is there and marked for "+driver.DefaultName+"\n",
		" 0 faults\n")

	unmarked := pool.Name + "/unmarked"
	zfstest.Run(t, "zfs", "create", unmarked)
	check(exitFailed, unmarked, "[fail] parent "+unmarked+": ", "-> if it is the right one: zfs-csi init "+unmarked+"\n")
	check(exitFailed, pool.Name+"/absent", "[fail] parent "+pool.Name+"/absent: it is not there\n", "-> make it with zfs-csi init ")

	repair := pool.Degrade(t)
	check(exitOK, parent, "[warn] pool "+pool.Name+": DEGRADED: ", "-> Online the device using 'zpool online'", " 0 faults\n")
	repair()

	imports := pool.Export(t)
	check(exitFailed, parent, "[ok]   module: OpenZFS ", "[fail] pool "+pool.Name+": it is not imported\n", "then zpool import "+pool.Name+";")
	imports()
}
