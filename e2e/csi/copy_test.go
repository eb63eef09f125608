package csi_test

import (
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
)

// copyRequest asks for a full copy of the source.
func (k kind) copyRequest(name, source string) *csi.CreateVolumeRequest {
	req := k.cloneRequest(name, source)
	req.Parameters = map[string]string{"cloneMode": "copy"}
	return req
}

// TestCopyKilled kills one of the two processes of a copy when half the bytes are over: the call
// fails and leaves nothing, and asked for again the copy is whole.
func TestCopyKilled(t *testing.T) {
	s := newStack(t)
	for _, k := range []kind{dataset, zvol} {
		for _, victim := range []string{"send", "receive"} {
			t.Run(k.name+"/"+victim, func(t *testing.T) {
				s := s.sub(t)
				a := s.create(k.request("a"))
				s.writeIn(k, a, "text")
				s.runner.onSent(func(sent int64) {
					if sent > textSize/2 {
						s.runner.kill(victim)
					}
				})
				s.unchanged(func() {
					_, err := s.CreateVolume(s.ctx(), k.copyRequest("b", a))
					s.code(err, codes.Internal, victim, "killed")
				})
				s.runner.onSent(nil)
				b := s.create(k.copyRequest("b", a))
				if got := s.readIn(k, b); got != "text" {
					t.Errorf("the copy holds %q", got)
				}
				s.delete(a, b)
			})
		}
	}
}

// TestCopyProgress: while a copy runs the log tells how far it is.
func TestCopyProgress(t *testing.T) {
	s := newStack(t)
	a := s.create(dataset.request("a"))
	s.writeIn(dataset, a, "text")
	var once sync.Once
	s.runner.onSent(func(int64) {
		once.Do(func() {
			s.eventually("the log tells of the copy", func() error { return s.logged("msg=copying", "bytes=") })
		})
	})
	b := s.create(dataset.copyRequest("b", a))
	s.must(s.logged(`msg="copy ended"`, "bytes="))
	s.delete(a, b)
}

// logged returns nil when a line of the driver's log has all the parts.
func (s *stack) logged(parts ...string) error {
	for line := range strings.Lines(s.logs.String()) {
		has := true
		for _, p := range parts {
			has = has && strings.Contains(line, p)
		}
		if has {
			return nil
		}
	}
	return errors.New("no line has " + strings.Join(parts, " and "))
}
