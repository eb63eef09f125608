package zfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// note is the file in which the pool's GUID is noted.
func (p PoolFile) note() string { return filepath.Join(p.NoteDir, p.Pool+".pool-guid") }

// noted returns the GUID of the pool that was made; "" when none was.
func (p PoolFile) noted() (string, error) {
	text, err := os.ReadFile(p.note())
	switch guid := strings.TrimSpace(string(text)); {
	case errors.Is(err, fs.ErrNotExist):
		return "", nil
	case err == nil && guid == "":
		return "", fmt.Errorf("%s is empty, which is to tell the GUID of the pool that was made; write it there (zdb -l FILE shows it), or remove the file", p.note())
	default:
		return guid, err
	}
}

// remember notes the GUID of a pool, for good.
func (p PoolFile) remember(label poolLabel) error {
	if noted, err := p.noted(); err != nil || noted == label.guid {
		return err
	}
	if err := os.MkdirAll(p.NoteDir, 0o700); err != nil {
		return err
	}
	draft := p.note() + unfinished
	file, err := os.OpenFile(draft, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(file, label.guid)
	if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	if err := os.Rename(draft, p.note()); err != nil {
		return err
	}
	return syncFolder(p.note())
}
