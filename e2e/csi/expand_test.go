package csi_test

import (
	"strconv"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
)

// TestExpandCutOff: where the growth of a thick volume was cut off between its size and its reservation, the
// repeated call sets the reservation, or says that there is no room for it.
func TestExpandCutOff(t *testing.T) {
	s := newStack(t)
	f := s.newFiller()
	defer f.destroy()
	for _, k := range []kind{dataset, zvol} {
		t.Run(k.name, func(t *testing.T) {
			s := s.sub(t)
			grow := func(id string) error {
				_, err := s.ControllerExpandVolume(s.ctx(), &csi.ControllerExpandVolumeRequest{
					VolumeId: id, CapacityRange: &csi.CapacityRange{RequiredBytes: 2 * k.size},
				})
				return err
			}
			reserved := func(id string) int64 { return s.number(s.dataset(id), "refreservation") }
			thick := func(id string) string {
				req := k.request(id)
				req.Parameters = map[string]string{"provisioning": "thick"}
				return s.create(req)
			}
			whole, cut := thick("whole"), thick("cut")
			before := reserved(cut)
			s.must(grow(whole))

			size := "refquota="
			if k.capability.GetBlock() != nil {
				size = "volsize="
			}
			s.shell("zfs", "set", size+strconv.FormatInt(2*k.size, 10), s.dataset(cut))
			s.shell("zfs", "set", "refreservation="+strconv.FormatInt(before, 10), s.dataset(cut))
			f.fill(k.size / 2)
			s.code(grow(cut), codes.ResourceExhausted)
			f.empty()
			for range 2 {
				s.must(grow(cut))
				if got, want := reserved(cut), reserved(whole); got != want || got < 2*k.size {
					t.Errorf("%d bytes are reserved, want %d", got, want)
				}
			}
			s.delete(whole, cut)
		})
	}
}
