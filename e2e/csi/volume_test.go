package csi_test

import (
	"bytes"
	"crypto/sha256"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"

	"github.com/zfs-csi/zfs-csi/e2e/service"
)

// kind is one of the kinds of volumes a caller can ask for.
type kind struct {
	name       string
	capability *csi.VolumeCapability
	// size is a size for such a volume that is not dear, in bytes.
	size int64
}

var (
	dataset = kind{"dataset", service.Mount(""), 16 * mib}
	zvol    = kind{"zvol", service.Block(), 16 * mib}
	ext4    = kind{"ext4", service.Mount("ext4"), 64 * mib}
	xfs     = kind{"xfs", service.Mount("xfs"), 320 * mib}
	kinds   = []kind{dataset, zvol, ext4, xfs}
	// apart are the kinds that snapshots and modifications treat apart: xfs goes the way of ext4.
	apart = []kind{dataset, zvol, ext4}
)

// onZvol tells whether it is a filesystem on a zvol.
func (k kind) onZvol() bool { return k.capability.GetMount().GetFsType() != "" }

// request asks for an empty volume.
func (k kind) request(name string) *csi.CreateVolumeRequest {
	return &csi.CreateVolumeRequest{
		Name:               name,
		CapacityRange:      &csi.CapacityRange{RequiredBytes: k.size},
		VolumeCapabilities: []*csi.VolumeCapability{k.capability},
	}
}

// cloneRequest asks for a clone of the source.
func (k kind) cloneRequest(name, source string) *csi.CreateVolumeRequest {
	req := k.request(name)
	req.VolumeContentSource = service.FromVolume(source)
	return req
}

// create makes a volume to a request and returns its ID.
func (s *stack) create(req *csi.CreateVolumeRequest) string {
	s.Helper()
	resp, err := s.CreateVolume(s.ctx(), req)
	s.must(err)
	return resp.GetVolume().GetVolumeId()
}

func (s *stack) delete(ids ...string) {
	s.Helper()
	for _, id := range ids {
		_, err := s.DeleteVolume(s.ctx(), &csi.DeleteVolumeRequest{VolumeId: id})
		s.must(err)
	}
}

func (s *stack) place(id string) service.Place { return service.PlaceIn(s.dir, id) }
func (s *stack) staging(id string) string      { return s.place(id).Staging }
func (s *stack) target(id string) string       { return s.place(id).Target }

// publish stages and publishes a volume and returns the target path.
func (s *stack) publish(id string, k kind) string {
	s.Helper()
	s.must(s.Publish(s.ctx(), id, k.capability, service.PlaceIn(s.dir, id)))
	return s.target(id)
}

// unpublish takes back what publish did.
func (s *stack) unpublish(ids ...string) {
	s.Helper()
	for _, id := range ids {
		// A command that another test starts just now holds all that is open, for a moment.
		s.insist(id+" is unpublished", func() error { return s.Unpublish(s.ctx(), id, service.PlaceIn(s.dir, id)) },
			codes.Aborted, codes.FailedPrecondition)
	}
}

// textSize is how much write leaves, in bytes: more than the slack of sameSpace, so that
// no moment of a volume that is left over goes unseen.
const textSize = 256 << 10

// content returns what a text is kept as: the text, a zero, and bytes that follow
// from it and that no compression makes fewer.
func content(text string) []byte {
	b := make([]byte, textSize)
	fill := rand.NewChaCha8(sha256.Sum256([]byte(text)))
	_, _ = fill.Read(b[copy(b, text)+1:]) // never fails
	return b
}

// write leaves a text in a published volume, on stable storage.
func (s *stack) write(path, text string) {
	s.Helper()
	f := s.open(path, os.O_WRONLY|os.O_CREATE)
	defer f.Close()
	_, err := f.WriteAt(content(text), 0)
	s.must(err)
	s.must(f.Sync())
}

// read returns the text that write left in a published volume, past the page cache, when
// every byte is as it was left.
func (s *stack) read(path string) string {
	s.Helper()
	f := s.open(path, os.O_RDONLY)
	defer f.Close()
	s.must(unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED))
	b, err := io.ReadAll(io.LimitReader(f, textSize))
	s.must(err)
	text, _, _ := bytes.Cut(b, []byte{0})
	if !bytes.Equal(b, content(string(text))) {
		return "something that was never written as a whole, beginning " + string(b[:min(16, len(b))])
	}
	return string(text)
}

// open opens what keeps the text. A zvol that has just appeared is busy for a moment.
func (s *stack) open(path string, flags int) (f *os.File) {
	s.Helper()
	s.eventually("the volume can be opened", func() (err error) {
		f, err = os.OpenFile(s.textFile(path), flags, 0o644)
		return err
	})
	return f
}

// textFile returns where a published volume keeps the text: the device itself, or a file.
func (s *stack) textFile(path string) string {
	s.Helper()
	info, err := os.Stat(path)
	s.must(err)
	if info.IsDir() {
		return filepath.Join(path, "text")
	}
	return path
}

// holds checks the text in a published volume.
func (s *stack) holds(path, want string) {
	s.Helper()
	if got := s.read(path); got != want {
		s.Errorf("%s holds %q, want %q", path, got, want)
	}
}
