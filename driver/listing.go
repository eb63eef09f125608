package driver

import (
	"context"
	"slices"
	"sync"
	"time"
)

// listingLife is how long a listing serves further pages.
const listingLife = time.Minute

// listing is the last list of all volumes or snapshots, kept so that each page of a long
// one does not walk every dataset again. It is no state: whoever asks for the first page,
// or changes something on it through this driver, makes it be read anew.
type listing[T any] struct {
	mu      sync.Mutex
	changes int // counts what has changed the list
	at      time.Time
	items   []T
}

// forget drops the listing, and those still being read, after something has changed.
func (l *listing[T]) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.changes++
	l.items = nil
}

// read returns all items in the order of their IDs: as they are, or for a further page as
// they were a little while ago.
func read[T any](ctx context.Context, d *Driver, l *listing[T], further bool, list func(context.Context) ([]T, error)) ([]T, error) {
	l.mu.Lock()
	known, changes := l.items, l.changes
	if time.Since(l.at) > listingLife {
		known = nil
	}
	l.mu.Unlock()
	if further && known != nil {
		return known, nil
	}

	start := time.Now()
	items, err := ask(ctx, d, list)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.changes == changes {
		l.at, l.items = start, slices.Clip(items)
	}
	return items, nil
}
