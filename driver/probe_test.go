package driver

import (
	"context"
	"testing"

	"github.com/moby/sys/mountinfo"
	"google.golang.org/grpc/codes"
)

// oneMount is a mount table with one filesystem.
type oneMount struct {
	Mounter
	at string
}

func (m oneMount) Mounts() ([]*mountinfo.Info, error) {
	return []*mountinfo.Info{{ID: 2, Parent: 1, Mountpoint: m.at, Root: "/", FSType: "zfs", Source: "tank/csi/v"}}, nil
}

// A caller that does not wait long enough for a filesystem that hangs is told so, and
// nothing of the filesystem.
func TestProbeOutlivesItsCall(t *testing.T) {
	n := newArguments(t)
	n.config.Mounter = oneMount{at: n.dir}
	v := n.volume("w", dataset, gib)
	for code, end := range map[codes.Code]func() (context.Context, context.CancelFunc){
		codes.DeadlineExceeded: func() (context.Context, context.CancelFunc) { return context.WithTimeout(t.Context(), 0) },
		codes.Canceled: func() (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			return ctx, cancel
		},
	} {
		ctx, cancel := end()
		defer cancel()
		n.probes.running = map[string]*look{
			"w statfs " + n.dir: {done: make(chan struct{})},
			"look " + n.dir:     {done: make(chan struct{})},
		}
		_, err := n.usage(ctx, v, n.dir)
		n.want(toStatus(err), code, n.dir)
		entry, err := n.mountHealth(ctx, n.dir)
		n.want(toStatus(err), code)
		if entry != nil {
			t.Errorf("the filesystem is said to be %v", entry)
		}
	}
}
