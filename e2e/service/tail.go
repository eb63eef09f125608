package service

import (
	"bytes"
	"sync"
)

// Tail keeps the last of what is written to it, some tens of KiB.
type Tail struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write implements io.Writer.
func (t *Tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	const most = 64 << 10
	if t.buf.Len() > most {
		t.buf.Next(t.buf.Len() - most/2)
	}
	return t.buf.Write(b)
}

// String returns it.
func (t *Tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.buf.String()
}
