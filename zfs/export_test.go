package zfs

import "context"

// HideDev has the store take another folder for /dev.
func HideDev(l *Local, dev string) { l.devices.dev = dev }

// SetEntriesOfParent has the store put entries elsewhere when a parent has so many.
func SetEntriesOfParent(l *Local, n int64) { l.entriesOfParent = n }

// LooksElsewhere tells whether entries are looked for in more places than the parent itself.
func LooksElsewhere(l *Local, parent Dataset) bool { return len(l.entriesOf("s")(parent)) > 1 }

// SweepTombstone sweeps what was listed as a tombstone.
func SweepTombstone(ctx context.Context, l *Local, listed Dataset, lock func(VolumeID) func()) error {
	return l.sweepTombstone(ctx, listed, lock)
}
