package driver

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zfs-csi/zfs-csi/zfs"
	"github.com/zfs-csi/zfs-csi/zfs/fake"
	"github.com/zfs-csi/zfs-csi/zfs/zfstest"
)

// sweptStore notes at which minutes each parent is swept.
type sweptStore struct {
	*fake.Store
	start time.Time
	swept map[string][]int
}

func (s *sweptStore) Sweep(ctx context.Context, lock func(zfs.VolumeID) func(), parents ...zfs.Dataset) error {
	err := s.Store.Sweep(ctx, lock, parents...)
	if len(parents) == 0 {
		parents = s.Parents()
	}
	for _, p := range parents {
		s.swept[p.Pool()] = append(s.swept[p.Pool()], int(time.Since(s.start).Minutes()))
	}
	return err
}

// While a pool is away its parent is tried each minute, and the others are not swept again with it, but each hour all are.
func TestSweepRetry(t *testing.T) {
	for name, back := range map[string]int{"back soon": 3, "back later": 90} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log zfstest.Log
				s := &sweptStore{fake.New(zfs.MustParseDataset("tank/csi"), zfs.MustParseDataset("fast/csi")), time.Now(), map[string][]int{}}
				s.SetPool("fast", fake.Exported)
				d, err := New(Config{NodeID: "node-1", Store: s, Log: slog.New(slog.NewTextHandler(&log, nil))})
				must(t, err)
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan struct{})
				go func() {
					defer close(done)
					d.sweep(ctx)
				}()
				time.Sleep(time.Duration(back)*time.Minute - time.Second)
				s.SetPool("fast", fake.Healthy)
				time.Sleep(150*time.Minute - time.Since(s.start))
				cancel()
				<-done
				var minutes []int
				for m := range back + 1 {
					minutes = append(minutes, m)
				}
				for hour := 60; hour < 150; hour += 60 {
					if hour > back {
						minutes = append(minutes, hour)
					}
				}
				want := map[string][]int{"tank": {0, 60, 120}, "fast": minutes}
				if !maps.EqualFunc(s.swept, want, slices.Equal) {
					t.Errorf("parents were swept at the minutes\n%v, want\n%v", s.swept, want)
				}
				if n := strings.Count(log.String(), "sweep has to wait for the pool"); n != back {
					t.Errorf("the log warns %d times, want %d:\n%s", n, back, log.String())
				}
			})
		})
	}
}
