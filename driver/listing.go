package driver

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/zfs-csi/zfs-csi/zfs"
)

// listingLife is how long a listing serves further pages.
const listingLife = time.Minute

// listing is the last list of all volumes, kept so that each page of a long one does
// not walk every volume again. It is no state: whoever asks for the first page, or
// changes a volume through this driver, makes it be read anew.
type listing struct {
	mu      sync.Mutex
	changes int // counts what has changed volumes
	at      time.Time
	volumes []*zfs.Volume
}

// forget drops the listing, and those still being read, after volumes have changed.
func (l *listing) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.changes++
	l.volumes = nil
}

// volumes returns all volumes in the order of their IDs: as they are, or for a
// further page as they were a little while ago.
func (d *Driver) volumes(ctx context.Context, further bool) ([]*zfs.Volume, error) {
	l := &d.listing
	l.mu.Lock()
	known, changes := l.volumes, l.changes
	if time.Since(l.at) > listingLife {
		known = nil
	}
	l.mu.Unlock()
	if further && known != nil {
		return known, nil
	}

	start := time.Now()
	volumes, err := ask(ctx, d, d.store.List)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.changes == changes {
		l.at, l.volumes = start, slices.Clip(volumes)
	}
	return volumes, nil
}
