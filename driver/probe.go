package driver

import (
	"context"
	"sync"
)

// probes are looks through mounts that have not ended. On a pool that hangs such a look
// hangs in the kernel, for as long as the pool does, and cannot be stopped: so each is
// made once at a time, however often it is asked for. The zero value is none.
type probes struct {
	mu      sync.Mutex
	running map[string]*look
}

// look is one look under way.
type look struct {
	done  chan struct{}
	value any
	err   error
}

// probe runs f, or joins the one that runs with the same key already, and returns what it
// returned, or the error of ctx when that ends first. f goes on then.
func probe[T any](ctx context.Context, p *probes, key string, f func() (T, error)) (T, error) {
	p.mu.Lock()
	l := p.running[key]
	if l == nil {
		l = &look{done: make(chan struct{})}
		if p.running == nil {
			p.running = map[string]*look{}
		}
		p.running[key] = l
		go func() {
			l.value, l.err = f()
			p.mu.Lock()
			delete(p.running, key)
			p.mu.Unlock()
			close(l.done)
		}()
	}
	p.mu.Unlock()

	var none T
	select {
	case <-ctx.Done():
		return none, ctx.Err()
	case <-l.done:
	}
	if l.err != nil {
		return none, l.err
	}
	return l.value.(T), nil
}
