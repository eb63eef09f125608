package driver

import (
	"errors"
	"fmt"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/zfs-csi/zfs-csi/zfs"
)

const (
	mib = 1 << 20
	gib = 1 << 30

	// defaultSize is the size of a volume for which none is asked, in bytes.
	defaultSize = gib
)

// bounds returns the smallest and the largest size, in bytes, of a volume of this
// use. It is the mkfs of a filesystem that sets its smallest; ext4 ends at 2^48 blocks of 4 KiB.
func (u use) bounds() (least, most int64) {
	switch u.fsType {
	case "ext4":
		return 16 * mib, 1 << 60
	case "xfs":
		return 300 * mib, 1 << 62
	}
	return mib, 1 << 62
}

// sizes are the sizes a caller takes for a volume, in bytes.
type sizes struct {
	// required is the smallest, limit the largest; zero for none.
	required, limit int64
}

// parseSizes returns the range that was asked for, which may be absent; see
// CapacityRange in the CSI specification. The error is a gRPC status.
func parseSizes(r *csi.CapacityRange) (sizes, error) {
	s := sizes{required: r.GetRequiredBytes(), limit: r.GetLimitBytes()}
	if s.required < 0 || s.limit < 0 {
		return sizes{}, invalid(errors.New("capacity_range: a size is negative"))
	}
	if s.limit > 0 && s.limit < s.required {
		return sizes{}, status.Errorf(codes.OutOfRange, "capacity_range: limit_bytes %d is less than required_bytes %d", s.limit, s.required)
	}
	return s, nil
}

// String describes the range to people.
func (s sizes) String() string {
	if s.limit == 0 {
		return fmt.Sprintf("at least %d", s.required)
	}
	return fmt.Sprintf("%d to %d", s.required, s.limit)
}

// holds tells whether a volume of size bytes is what was asked for.
func (s sizes) holds(size int64) bool {
	return size >= s.required && (s.limit == 0 || size <= s.limit)
}

// choose returns the size for a volume: what is required, or else preferred as far
// as the limit allows; rounded up to what its use needs and to a multiple of
// block bytes. The error is OUT_OF_RANGE.
func (s sizes) choose(u use, preferred, block int64) (int64, error) {
	least, most := u.bounds()
	size := s.required
	if size == 0 {
		size = preferred
		if s.limit > 0 && s.limit < size {
			size = s.limit / block * block
		}
	}
	if size > most {
		return 0, status.Errorf(codes.OutOfRange, "%d bytes are more than the %d that a %s can have", size, most, u)
	}
	size = (max(size, least) + block - 1) / block * block
	if s.limit > 0 && size > s.limit {
		return 0, status.Errorf(codes.OutOfRange,
			"a %s has at least %d bytes and a multiple of %d: the smallest that fits is %d, more than limit_bytes %d", u, least, block, size, s.limit)
	}
	return size, nil
}

// blockSize returns what the size of a volume that exists is a multiple of, in bytes.
func blockSize(v *zfs.Volume) int64 {
	if v.Kind == zfs.Filesystem {
		return 1
	}
	return max(v.BlockSize, 1)
}
