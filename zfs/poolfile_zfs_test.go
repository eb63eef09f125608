package zfs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/zfs-csi/zfs-csi/zfs"
	"github.com/zfs-csi/zfs-csi/zfs/zfstest"
)

// fileSize is the size in bytes of the files that hold a pool in these tests.
const fileSize = 128 << 20

// newPoolFile returns a pool in a file, neither of which is there.
func newPoolFile(t *testing.T) zfs.PoolFile {
	t.Helper()
	name, dir := zfstest.NoPool(t)
	return zfs.PoolFile{Runner: run, Path: filepath.Join(dir, "folder", "pool.img"), Size: fileSize, Pool: name, NoteDir: filepath.Join(dir, "notes")}
}

// ensured checks that Ensure changes what is wanted, and that the pool is then imported from the file.
func ensured(t *testing.T, p zfs.PoolFile, want zfs.PoolChange) {
	t.Helper()
	if got, err := p.Ensure(t.Context()); err != nil || got != want {
		t.Fatalf("Ensure returns %d, %v; want %d", got, err, want)
	}
	label := zfstest.Run(t, "zdb", "-l", p.Path)
	for _, line := range []string{"pool_guid: " + zfstest.Run(t, "zpool", "get", "-Hpo", "value", "guid", p.Pool), "path: '" + p.Path + "'"} {
		if !strings.Contains(label, line+"\n") {
			t.Fatalf("the label does not say %q:\n%s", line, label)
		}
	}
	for _, dir := range []string{filepath.Dir(p.Path), p.NoteDir} {
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) != 1 {
			t.Fatalf("in %s there are %v, %v", dir, entries, err)
		}
	}
}

// TestPoolFile: the pool is made once, imported when it is not, and keeps what is in it.
func TestPoolFile(t *testing.T) {
	t.Parallel()
	p := newPoolFile(t)
	ensured(t, p, zfs.PoolCreated)
	if info, err := os.Stat(p.Path); err != nil || info.Size() != fileSize || info.Mode().Perm() != 0o600 {
		t.Errorf("the file is %v, %v", info, err)
	}
	parent := zfs.MustParseDataset(p.Pool + "/csi")
	if change, err := zfs.InitParent(t.Context(), run, zfstest.Driver, parent); err != nil || change != zfs.ParentCreated {
		t.Fatal(change, err)
	}
	ensured(t, p, zfs.PoolUnchanged)

	zfstest.Run(t, "zpool", "export", p.Pool)
	ensured(t, p, zfs.PoolImported)
	if change, err := zfs.InitParent(t.Context(), run, zfstest.Driver, parent); err != nil || change != zfs.ParentUnchanged {
		t.Fatal(change, err)
	}
	for property, want := range map[string]string{"cachefile": "none", "autotrim": "on", "ashift": "12"} {
		if got := zfstest.Run(t, "zpool", "get", "-Ho", "value", property, p.Pool); got != want {
			t.Errorf("%s is %s, want %s", property, got, want)
		}
	}

}

// TestPoolFileAfterFailure: what is in the file after a power failure is a pool that nobody exported. A container that
// imports it need not have the host ID that its label names.
func TestPoolFileAfterFailure(t *testing.T) {
	t.Parallel()
	p := newPoolFile(t)
	ensured(t, p, zfs.PoolCreated)
	zfstest.Run(t, "zpool", "sync", p.Pool)
	zfstest.Run(t, "cp", "--sparse=always", p.Path, p.Path+".failed")
	zfstest.Run(t, "zpool", "export", p.Pool)
	zfstest.Run(t, "mv", p.Path+".failed", p.Path)
	if _, err := os.Stat(hostID); err == nil {
		id := filepath.Join(t.TempDir(), "hostid")
		if err := os.WriteFile(id, []byte{1, 2, 3, 4}, 0o600); err != nil {
			t.Fatal(err)
		}
		p.Runner = elsewhere(id)
	}
	ensured(t, p, zfs.PoolImported)
}

// hostID is the file that ZFS's tools read the host ID from. A machine without it writes none into its labels.
const hostID = "/etc/hostid"

// elsewhere runs commands where another file is hostID.
type elsewhere string

func (e elsewhere) Run(ctx context.Context, c zfs.Command) (zfs.Result, error) {
	script := `mount --bind "$0" ` + hostID + ` && exec "$@"`
	cmd := exec.CommandContext(ctx, "unshare", append([]string{"-m", "--propagation", "slave", "sh", "-c", script, string(e), c.Name}, c.Args...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	result := zfs.Result{Stdout: stdout.Bytes(), Stderr: stderr.Bytes(), ExitCode: cmd.ProcessState.ExitCode()}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = nil
	}
	return result, err
}

// TestPoolFileCutOff: wherever the making of the pool ends, with or without a new start of the machine after it, the
// next call makes it.
func TestPoolFileCutOff(t *testing.T) {
	for name, dies := range map[string]struct {
		verb           string
		after, restart bool
	}{
		"before create":              {verb: "create"},
		"after create":               {verb: "create", after: true},
		"after create, and restart":  {verb: "create", after: true, restart: true},
		"after export":               {verb: "export", after: true},
		"before import":              {verb: "import"},
		"after import":               {verb: "import", after: true},
		"after import, and restart ": {verb: "import", after: true, restart: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPoolFile(t)
			p.Runner = dying{verb: dies.verb, after: dies.after}
			if _, err := p.Ensure(t.Context()); !errors.Is(err, errDead) {
				t.Fatalf("it did not die: %v", err)
			}
			if dies.restart {
				zfstest.Run(t, "zpool", "export", p.Pool)
			}
			want := zfs.PoolUnchanged
			if _, err := os.Stat(p.Path); err != nil {
				want = zfs.PoolCreated
			} else if !zfstest.Imported(t, p.Pool) {
				want = zfs.PoolImported
			}
			p.Runner = run
			ensured(t, p, want)
		})
	}
}

// TestPoolFileNoted: it was noted which pool is made, and the power went before its file had its name.
func TestPoolFileNoted(t *testing.T) {
	t.Parallel()
	p := newPoolFile(t)
	ensured(t, p, zfs.PoolCreated)
	zfstest.Run(t, "zpool", "export", p.Pool)
	zfstest.Run(t, "mv", p.Path, p.Path+".zfs-csi-unfinished")
	ensured(t, p, zfs.PoolCreated)
}

// TestPoolFileGone: a file that is gone is not made again, nor is another taken for it, unless somebody says so.
func TestPoolFileGone(t *testing.T) {
	t.Parallel()
	p := newPoolFile(t)
	ensured(t, p, zfs.PoolCreated)
	guid, away := zfstest.Run(t, "zpool", "get", "-Hpo", "value", "guid", p.Pool), filepath.Join(filepath.Dir(p.NoteDir), "away.img")
	refused := func(want error, words ...string) {
		t.Helper()
		_, err := p.Ensure(t.Context())
		if !errors.Is(err, want) {
			t.Fatalf("Ensure returns %v, want %v", err, want)
		}
		for _, w := range append(words, guid, p.NoteDir) {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%q does not say %q", err, w)
			}
		}
		if zfstest.Imported(t, p.Pool) {
			t.Fatal("a pool is imported")
		}
	}
	zfstest.Run(t, "zpool", "export", p.Pool)
	zfstest.Run(t, "mv", p.Path, away)
	refused(zfs.ErrUnavailable, "the file is gone")
	if err := os.WriteFile(p.Path+".zfs-csi-unfinished", make([]byte, fileSize), 0o600); err != nil {
		t.Fatal(err)
	}
	refused(zfs.ErrUnavailable, "the file is gone")

	other := p
	other.NoteDir = t.TempDir()
	ensured(t, other, zfs.PoolCreated)
	zfstest.Run(t, "zpool", "export", p.Pool)
	refused(zfs.ErrNotOurs, "holds another pool")
	zfstest.Run(t, "mv", away, p.Path)
	ensured(t, p, zfs.PoolImported)

	// A pool that was made elsewhere, or by one who noted nothing.
	zfstest.Run(t, "zpool", "export", p.Pool)
	zfstest.Run(t, "rm", "-r", p.NoteDir)
	ensured(t, p, zfs.PoolImported)
	// Imported it is left alone, whatever has become of the name of its file.
	zfstest.Run(t, "mv", p.Path, away)
	if change, err := p.Ensure(t.Context()); err != nil || change != zfs.PoolUnchanged {
		t.Errorf("Ensure returns %d, %v", change, err)
	}
	zfstest.Run(t, "mv", away, p.Path)
}

// TestPoolFileLeftOver: a draft that was cut off inside zpool create is begun anew.
func TestPoolFileLeftOver(t *testing.T) {
	t.Parallel()
	p := newPoolFile(t)
	if err := os.MkdirAll(filepath.Dir(p.Path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p.Path+".zfs-csi-unfinished", []byte(strings.Repeat("half a label ", 1<<16)), 0o600); err != nil {
		t.Fatal(err)
	}
	ensured(t, p, zfs.PoolCreated)
}

// TestPoolFileRefuses: what the driver did not make is neither taken nor changed.
func TestPoolFileRefuses(t *testing.T) {
	refused := func(t *testing.T, p zfs.PoolFile, want error, words string) {
		t.Helper()
		if _, err := p.Ensure(t.Context()); !errors.Is(err, want) || !strings.Contains(err.Error(), words) {
			t.Errorf("Ensure returns %v, want %v with %q", err, want, words)
		}
	}
	t.Run("a file without a pool", func(t *testing.T) {
		t.Parallel()
		p := newPoolFile(t)
		for _, contents := range []string{"", "somebody's data\n"} {
			if err := errors.Join(os.MkdirAll(filepath.Dir(p.Path), 0o700), os.WriteFile(p.Path, []byte(contents), 0o644)); err != nil {
				t.Fatal(err)
			}
			refused(t, p, zfs.ErrNotOurs, "holds no pool")
			if got, err := os.ReadFile(p.Path); err != nil || string(got) != contents {
				t.Errorf("the file holds %q, %v", got, err)
			}
		}
		if zfstest.Imported(t, p.Pool) {
			t.Error("a pool was made")
		}
	})
	t.Run("a pool of that name elsewhere", func(t *testing.T) {
		t.Parallel()
		other := zfstest.NewPool(t, fileSize)
		p := newPoolFile(t)
		p.Pool = other.Name
		refused(t, p, zfs.ErrNotOurs, "a pool of that name is imported")
		if _, err := os.Stat(p.Path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the file: %v", err)
		}
		// And with another pool in the file: as it would be of two nodes on one kernel.
		q := newPoolFile(t)
		ensured(t, q, zfs.PoolCreated)
		zfstest.Run(t, "zpool", "export", q.Pool)
		q.Pool = other.Name
		refused(t, q, zfs.ErrNotOurs, "a pool of that name is imported")
	})
	t.Run("a pool of another name", func(t *testing.T) {
		t.Parallel()
		p := newPoolFile(t)
		ensured(t, p, zfs.PoolCreated)
		q := p
		q.Pool += "x"
		refused(t, q, zfs.ErrNotOurs, "the file holds a pool named "+p.Pool+" and not")
	})
	t.Run("a destroyed pool", func(t *testing.T) {
		t.Parallel()
		p := newPoolFile(t)
		ensured(t, p, zfs.PoolCreated)
		zfstest.Run(t, "zpool", "destroy", p.Pool)
		refused(t, p, zfs.ErrNotOurs, "was destroyed")
	})
	t.Run("no room", func(t *testing.T) {
		t.Parallel()
		p := newPoolFile(t)
		p.Size = 1 << 60
		refused(t, p, zfs.ErrNoSpace, "choose a smaller size")
	})
	t.Run("no path", func(t *testing.T) {
		t.Parallel()
		p := newPoolFile(t)
		for _, path := range []string{"pool.img", filepath.Dir(p.Path) + "/../pool.img"} {
			p.Path = path
			refused(t, p, zfs.ErrInvalid, "an absolute and plain path")
		}
	})
	t.Run("a note beside it", func(t *testing.T) {
		t.Parallel()
		p := newPoolFile(t)
		for _, dir := range []string{"", filepath.Dir(p.Path), filepath.Join(filepath.Dir(p.Path), "notes")} {
			p.NoteDir = dir
			refused(t, p, zfs.ErrInvalid, "choose another folder")
			if _, err := os.Lstat(filepath.Dir(p.Path)); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the file's folder: %v", err)
			}
		}
	})
	t.Run("an empty note", func(t *testing.T) {
		t.Parallel()
		p := newPoolFile(t)
		if err := errors.Join(os.Mkdir(p.NoteDir, 0o700), os.WriteFile(filepath.Join(p.NoteDir, p.Pool+".pool-guid"), []byte("\n"), 0o600)); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Ensure(t.Context()); err == nil || !strings.Contains(err.Error(), "is empty") {
			t.Errorf("Ensure returns %v", err)
		}
	})
	t.Run("a folder", func(t *testing.T) {
		t.Parallel()
		p := newPoolFile(t)
		if err := os.MkdirAll(p.Path, 0o700); err != nil {
			t.Fatal(err)
		}
		refused(t, p, zfs.ErrNotOurs, "it is not a file")
	})
	t.Run("on ZFS", func(t *testing.T) {
		t.Parallel()
		pool := zfstest.NewPool(t, fileSize)
		p := newPoolFile(t)
		p.Path = filepath.Join(t.TempDir(), "fs", "pool.img")
		zfstest.Run(t, "zfs", "create", "-o", "mountpoint=legacy", pool.Name+"/fs")
		if err := os.Mkdir(filepath.Dir(p.Path), 0o700); err != nil {
			t.Fatal(err)
		}
		zfstest.Run(t, "mount", "-t", "zfs", pool.Name+"/fs", filepath.Dir(p.Path))
		t.Cleanup(func() { zfstest.Run(t, "umount", filepath.Dir(p.Path)) })
		refused(t, p, zfs.ErrInvalid, "the folder lies on ZFS")
	})
}

// TestPoolFileAtOnce: of two processes one makes the pool, and the other says that it waits for nothing.
func TestPoolFileAtOnce(t *testing.T) {
	t.Parallel()
	p := newPoolFile(t)
	second := p
	p.Runner = during(func() {
		if _, err := second.Ensure(t.Context()); !errors.Is(err, zfs.ErrBusy) {
			t.Errorf("the second returns %v", err)
		}
	})
	ensured(t, p, zfs.PoolCreated)
}

// errDead is what a command returns at which the process died.
var errDead = errors.New("the test lets the process die here")

// dying is a process that dies before the zpool command of that verb, or after it.
type dying struct {
	verb  string
	after bool
}

func (d dying) Run(ctx context.Context, c zfs.Command) (zfs.Result, error) {
	if c.Args[0] != d.verb {
		return run.Run(ctx, c)
	}
	if d.after {
		if result, err := run.Run(ctx, c); err != nil || result.ExitCode != 0 {
			return result, fmt.Errorf("%s failed: %w", c, err)
		}
	}
	return zfs.Result{}, errDead
}

// during is called before each command.
type during func()

func (d during) Run(ctx context.Context, c zfs.Command) (zfs.Result, error) {
	d()
	return run.Run(ctx, c)
}
