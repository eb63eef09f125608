package zfs

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// labelled is what zdb of OpenZFS 2.1 printed of a file in a pool, where the first label could not be read. 2.3 prints the
// same, and more lines.
const labelled = `failed to unpack label 0
------------------------------------
LABEL 1
------------------------------------
    version: 5000
    name: 'tank'
    state: 1
    txg: 4
    pool_guid: 17822158848961372300
    errata: 0
    hostid: 1125433978
    hostname: 'node'
    top_guid: 5353829365392273205
    guid: 5353829365392273205
    vdev_children: 1
    vdev_tree:
        type: 'file'
        id: 0
        guid: 5353829365392273205
        path: '/var/tmp/name: x'
        metaslab_array: 131
    features_for_read:
        com.delphix:hole_birth
    labels = 1 2 3
`

func TestReadLabel(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pool.img")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	read := func(answer Result) (poolLabel, error) {
		return readLabel(context.Background(), &recorded{answers: map[string]Result{"zdb -l " + path: answer}}, path)
	}
	if label, err := read(Result{Stdout: []byte(labelled)}); err != nil || label != (poolLabel{"tank", "17822158848961372300", "1"}) {
		t.Errorf("the label is %+v, %v", label, err)
	}
	for _, none := range []string{"failed to unpack label 0\nfailed to unpack label 1\n", "failed to read label 0\n"} {
		if _, err := read(Result{Stdout: []byte(none), ExitCode: 2}); !errors.Is(err, ErrNotOurs) {
			t.Errorf("%q: %v", none, err)
		}
	}
	// What is not understood proves nothing: neither that there is a pool nor that there is none.
	cut, _, _ := strings.Cut(labelled, "pool_guid")
	for name, answer := range map[string]Result{
		"cut short": {Stdout: []byte(cut)},
		"failed":    {Stderr: []byte("cannot open '" + path + "': Permission denied\n"), ExitCode: 1},
	} {
		if _, err := read(answer); err == nil || errors.Is(err, ErrNotOurs) || errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := readLabel(context.Background(), nil, path+"x"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}
