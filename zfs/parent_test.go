package zfs

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestInitParent(t *testing.T) {
	const (
		pool   = "zpool list -Hp -o name,health tank"
		parent = "zfs get -Hp -o name,property,value,source type,zfs-csi:driver tank/csi"
		above  = "zfs get -Hp -o name,property,value,source zfs-csi:driver tank"
		create = "zfs create -o mountpoint=none -o canmount=off -o volmode=dev -o snapdev=hidden -o zfs-csi:driver=ours tank/csi"
		mark   = "zfs set zfs-csi:driver=ours tank/csi"
	)
	absent := refuses("cannot open 'tank/csi': dataset does not exist")
	dataset := func(kind, marker string) Result {
		return says("tank/csi\ttype\t"+kind+"\t-", "tank/csi\tzfs-csi:driver\t"+marker)
	}
	for name, test := range map[string]struct {
		answers map[string]Result
		want    ParentChange
		err     error
		says    string
		changes []string
	}{
		"new": {
			answers: map[string]Result{pool: says("tank\tONLINE"), parent: absent, above: says("tank\tzfs-csi:driver\t-\t-"), create: {}},
			want:    ParentCreated, changes: []string{create},
		},
		"there, unmarked": {
			answers: map[string]Result{pool: says("tank\tDEGRADED"), parent: dataset("filesystem", "-\t-"), mark: {}},
			want:    ParentMarked, changes: []string{mark},
		},
		"again": {
			answers: map[string]Result{pool: says("tank\tONLINE"), parent: dataset("filesystem", "ours\tlocal")},
			want:    ParentUnchanged,
		},
		"another's": {
			answers: map[string]Result{pool: says("tank\tONLINE"), parent: dataset("filesystem", "theirs\tlocal")},
			err:     ErrNotOurs, says: `the parent of the driver "theirs"`,
		},
		"inside a parent": {
			answers: map[string]Result{pool: says("tank\tONLINE"), parent: dataset("filesystem", "ours\tinherited from tank")},
			err:     ErrNotOurs, says: "inherited from tank",
		},
		"new inside a parent": {
			answers: map[string]Result{pool: says("tank\tONLINE"), parent: absent, above: says("tank\tzfs-csi:driver\tours\tlocal")},
			err:     ErrNotOurs, says: "would lie inside tank",
		},
		"a zvol": {
			answers: map[string]Result{pool: says("tank\tONLINE"), parent: dataset("volume", "-\t-")},
			err:     ErrInvalid, says: "only a filesystem",
		},
		"nothing to hold it": {
			answers: map[string]Result{pool: says("tank\tONLINE"), parent: absent, above: refuses("cannot open 'tank': dataset does not exist")},
			err:     ErrInvalid, says: "make that first",
		},
		"no pool": {
			answers: map[string]Result{pool: refuses("cannot open 'tank': no such pool")},
			err:     ErrUnavailable, says: "zpool import tank",
		},
		"a suspended pool": {
			answers: map[string]Result{pool: says("tank\tSUSPENDED")},
			err:     ErrUnavailable, says: "SUSPENDED",
		},
		"a read-only pool": {
			answers: map[string]Result{
				pool: says("tank\tONLINE"), parent: dataset("filesystem", "-\t-"),
				mark: refuses("cannot set property for 'tank/csi': pool is read-only"),
			},
			err: ErrReadOnly, changes: []string{mark},
		},
	} {
		t.Run(name, func(t *testing.T) {
			run := &recorded{answers: test.answers}
			got, err := InitParent(t.Context(), run, "ours", MustParseDataset("tank/csi"))
			if !errors.Is(err, test.err) || err != nil && !strings.Contains(err.Error(), test.says) {
				t.Errorf("error %v, want %v that says %q", err, test.err, test.says)
			}
			if err == nil && got != test.want {
				t.Errorf("change %d, want %d", got, test.want)
			}
			if changes := run.changes(); !slices.Equal(changes, test.changes) {
				t.Errorf("commands %q, want %q", changes, test.changes)
			}
		})
	}
}

// TestLongParent: a parent is refused below which ZFS would not take every name.
func TestLongParent(t *testing.T) {
	fits := MustParseDataset("tank/" + strings.Repeat("p", maxParent-len("tank/")))
	long := MustParseDataset(fits.name + "p")
	for parent, want := range map[Dataset]error{fits: nil, long: ErrInvalid} {
		if _, err := NewLocal(LocalConfig{Driver: "ours", Parents: []Dataset{parent}}); !errors.Is(err, want) {
			t.Errorf("a store on a parent of %d bytes: error %v, want %v", len(parent.name), err, want)
		}
		answers := map[string]Result{"zpool list -Hp -o name,health tank": refuses("cannot open 'tank': no such pool")}
		if want == nil {
			want = ErrUnavailable // It is looked for.
		}
		if _, err := InitParent(t.Context(), &recorded{answers: answers}, "ours", parent); !errors.Is(err, want) {
			t.Errorf("init of a parent of %d bytes: error %v, want %v", len(parent.name), err, want)
		}
	}
}
