package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"
)

// say writes one line for the person watching; standard output is for results.
func say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "machine: "+format+"\n", args...)
}

// heartbeat is how often a long step shows that it is alive.
const heartbeat = 15 * time.Second

// step runs work under a title, shows that it is alive and says how long it took.
// state, when not nil, returns the latest line worth showing.
func step(ctx context.Context, title string, state func() string, work func(context.Context) error) error {
	say("%s …", title)
	start := time.Now()
	stop := make(chan struct{})
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		ticker := time.NewTicker(heartbeat)
		defer ticker.Stop()
		for {
			select {
			case <-stop:
				return
			case <-ticker.C:
				line := fmt.Sprintf("%s, %.0f s", title, time.Since(start).Seconds())
				if state != nil {
					line = fmt.Sprintf("%s: %.90s", line, state())
				}
				say("%s", strings.TrimSuffix(line, ": "))
			}
		}
	}()
	err := work(ctx)
	close(stop)
	<-stopped
	if err != nil {
		return fmt.Errorf("%s: %w", title, err)
	}
	say("%s: %.1f s", title, time.Since(start).Seconds())
	return nil
}
