package zfs

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
)

// poolLabel is what a file says of the pool that it is a device of.
type poolLabel struct {
	// pool is the pool's name, guid what tells it from every other.
	pool, guid string
	// state is one of pool_state_t of OpenZFS: "0" active, "1" exported, "2" destroyed.
	state string
}

// readLabel reads the label of a file, whether its pool is imported or not. Errors: os.ErrNotExist, ErrNotOurs when
// there is something without a label.
func readLabel(ctx context.Context, run Runner, path string) (poolLabel, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return poolLabel{}, err
	}
	if !info.Mode().IsRegular() {
		return poolLabel{}, fmt.Errorf("%w: it is not a file", ErrNotOurs)
	}
	command := Command{Name: "zdb", Args: []string{"-l", path}}
	result, err := run.Run(ctx, command)
	if err != nil {
		return poolLabel{}, err
	}
	const unlabelled = 2 // what zdb -l ends with where it can read the file and finds no label
	label, found := parseLabel(result.Stdout)
	switch {
	case found:
		return label, nil
	case result.ExitCode == unlabelled:
		return poolLabel{}, fmt.Errorf("%w: the file holds no pool, and is left as it is; choose another path, or remove it if nobody needs it", ErrNotOurs)
	}
	return poolLabel{}, fmt.Errorf("%s ended with %d and no label: %s", command, result.ExitCode, firstLine(append(result.Stderr, result.Stdout...)))
}

// parseLabel returns the first whole label that zdb -l printed: its own lines are indented by four spaces, those of its
// devices by more.
func parseLabel(out []byte) (label poolLabel, found bool) {
	lines := bufio.NewScanner(bytes.NewReader(out))
	lines.Buffer(nil, len(out)+1)
	for lines.Scan() {
		line, own := strings.CutPrefix(lines.Text(), "    ")
		key, value, pair := strings.Cut(line, ": ")
		if !own || !pair || strings.HasPrefix(key, " ") {
			continue
		}
		switch key {
		case "name":
			label.pool = strings.Trim(value, "'")
		case "state":
			label.state = value
		case "pool_guid":
			label.guid = value
		}
		if label.pool != "" && label.state != "" && label.guid != "" {
			return label, true
		}
	}
	return poolLabel{}, false
}

// check returns an error unless the pool can be imported under that name.
func (l poolLabel) check(pool string) error {
	if l.pool != pool {
		return fmt.Errorf("%w: the file holds a pool named %s and not %s; name that one, or choose another file", ErrNotOurs, l.pool, pool)
	}
	if l.state != "0" && l.state != "1" {
		return fmt.Errorf("%w: the pool was destroyed (state %s); remove the file for a new one, or take the pool back (zpool import -D)", ErrNotOurs, l.state)
	}
	return nil
}
