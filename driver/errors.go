package driver

import (
	"context"
	"errors"
	"runtime/debug"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/zfs-csi/zfs-csi/zfs"
)

// codesOf says which gRPC code stands for which error of the storage, after the
// error tables of the CSI specification. What is not named here is INTERNAL:
// nothing may be concluded from it.
var codesOf = []struct {
	err  error
	code codes.Code
}{
	{zfs.ErrUnavailable, codes.Unavailable},
	// FAILED_PRECONDITION would tell of the volume, for example that it is in use.
	{zfs.ErrReadOnly, codes.Unavailable},
	{zfs.ErrNotFound, codes.NotFound},
	{zfs.ErrExists, codes.AlreadyExists},
	{zfs.ErrNoSpace, codes.ResourceExhausted},
	{zfs.ErrBusy, codes.FailedPrecondition},
	{zfs.ErrDependents, codes.FailedPrecondition},
	{zfs.ErrNotOurs, codes.FailedPrecondition},
	{zfs.ErrPools, codes.FailedPrecondition},
	{zfs.ErrGrouped, codes.InvalidArgument},
	{zfs.ErrInvalid, codes.InvalidArgument},
	{context.DeadlineExceeded, codes.DeadlineExceeded},
	{context.Canceled, codes.Canceled},
}

// toStatus returns err as a gRPC status; one that is a status already stays what it is.
func toStatus(err error) error {
	if err == nil {
		return nil
	}
	if s, ok := status.FromError(err); ok {
		return s.Err()
	}
	for _, known := range codesOf {
		if errors.Is(err, known.err) {
			return status.Error(known.code, err.Error())
		}
	}
	return status.Error(codes.Internal, err.Error())
}

// invalid returns err as INVALID_ARGUMENT.
func invalid(err error) error { return status.Error(codes.InvalidArgument, err.Error()) }

// guard returns the error of f, or INTERNAL when f panics: a fault in one call does
// not end the others.
func (d *Driver) guard(ctx context.Context, f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			d.config.Log.ErrorContext(ctx, "panic", "panic", p, "stack", string(debug.Stack()))
			err = status.Error(codes.Internal, "the driver has a fault; its log tells where")
		}
	}()
	return f()
}
