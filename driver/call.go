package driver

import (
	"context"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// hold runs f with the volume alone, and source unless it is empty, locked. When the
// caller's deadline passes first, hold returns at once while f goes on to its end
// and keeps the locks: a ZFS command that is running is never abandoned half-way,
// and the next call on the same volume is told ABORTED until it has ended.
func hold[T any](ctx context.Context, d *Driver, alone, source string, f func(context.Context) (T, error)) (T, error) {
	release, taken := d.locks.try(alone, source)
	if release == nil {
		var none T
		return none, status.Errorf(codes.Aborted, "an operation on volume %q is still running; try again when it has ended", taken)
	}
	return finish(ctx, d, func(ctx context.Context) (T, error) {
		defer release()
		return f(ctx)
	})
}

// finish runs f to its end even when ctx ends, and returns what f returns or the
// error of ctx, whichever comes first.
func finish[T any](ctx context.Context, d *Driver, f func(context.Context) (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	d.running.Add(1)
	go func() {
		defer d.running.Done()
		value, err := f(context.WithoutCancel(ctx))
		done <- result{value, err}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		var none T
		return none, status.FromContextError(ctx.Err()).Err()
	}
}
