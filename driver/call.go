package driver

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// hold runs f with alone, and shared by others the sources, locked. When the
// caller's deadline passes first, hold returns at once while f goes on to its end
// and keeps the locks: a ZFS command that is running is never abandoned half-way,
// and the next call on the same volume is told ABORTED until it has ended.
//
// The context that f is given never ends. What only waits, and is safe to give up,
// takes the caller's context instead, so that the locks are not kept for ever.
func hold[T any](ctx context.Context, d *Driver, alone string, sources []string, f func(context.Context) (T, error)) (T, error) {
	release, taken := d.locks.try(alone, sources...)
	if release == nil {
		var none T
		return none, pending(taken)
	}
	return finish(ctx, d, func(ctx context.Context) (T, error) {
		defer release()
		return f(ctx)
	})
}

// pending returns an ABORTED.
func pending(key string) error {
	return status.Errorf(codes.Aborted, "an operation on %q is still running; try again when it has ended", key)
}

// finish runs f to its end even when ctx ends, and returns what f returns or the
// error of ctx, whichever comes first. The error is a gRPC status.
func finish[T any](ctx context.Context, d *Driver, f func(context.Context) (T, error)) (T, error) {
	return await(ctx, context.WithoutCancel(ctx), d, f)
}

// ask is finish for an f that changes nothing: f is given up when ctx ends, so that
// questions to a pool that hangs do not pile up where they can be stopped.
func ask[T any](ctx context.Context, d *Driver, f func(context.Context) (T, error)) (T, error) {
	return await(ctx, ctx, d, f)
}

// await runs f beside the call, with a context of its own, and waits for either.
func await[T any](ctx, inner context.Context, d *Driver, f func(context.Context) (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	d.running.Add(1)
	go func() {
		defer d.running.Done()
		var r result
		r.err = d.guard(ctx, func() (err error) {
			r.value, err = f(inner)
			return err
		})
		if ctx.Err() != nil {
			method, _ := grpc.Method(ctx)
			d.config.Log.WarnContext(ctx, "operation ended after its call", "method", method, "error", r.err)
		}
		done <- r
	}()
	select {
	case r := <-done:
		return r.value, toStatus(r.err)
	case <-ctx.Done():
		var none T
		return none, toStatus(ctx.Err())
	}
}
