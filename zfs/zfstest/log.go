package zfstest

import (
	"bytes"
	"sync"
)

// Log keeps the last of what is written to it, some tens of KiB, and can be read meanwhile.
type Log struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write implements io.Writer.
func (l *Log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	const most = 64 << 10
	if l.buf.Len() > most {
		l.buf.Next(l.buf.Len() - most/2)
	}
	return l.buf.Write(b)
}

// String returns it.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}
