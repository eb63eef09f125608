package driver_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"

	"github.com/zfs-csi/zfs-csi/zfs/fake"
)

func TestListVolumes(t *testing.T) {
	s := serve(t)
	var want []string
	for i := range 7 {
		id := fmt.Sprintf("pvc-%d", i)
		req := request(id, mib, mount(""))
		req.Parameters = map[string]string{"parent": []string{"tank/csi", "fast/csi"}[i%2]}
		s.create(req)
		want = append(want, id)
	}
	for size := range int32(9) {
		s.asked()
		var got []string
		for token, pages := "", 0; pages == 0 || token != ""; pages++ {
			resp, err := s.ListVolumes(s.context(), &csi.ListVolumesRequest{MaxEntries: size, StartingToken: token})
			if err != nil {
				t.Fatal(err)
			}
			if size > 0 && len(resp.GetEntries()) > int(size) {
				t.Errorf("page of %d has %d entries", size, len(resp.GetEntries()))
			}
			for _, e := range resp.GetEntries() {
				got = append(got, e.GetVolume().GetVolumeId())
			}
			token = resp.GetNextToken()
		}
		if !slices.Equal(got, want) {
			t.Errorf("pages of %d: %v; want %v", size, got, want)
		}
		if asked := s.asked(); asked != "List" {
			t.Errorf("pages of %d asked the store: %s; want one List", size, asked)
		}
	}
}

func TestListVolumesWhileTheyChange(t *testing.T) {
	s := serve(t)
	for i := range 4 {
		s.create(request(fmt.Sprintf("pvc-%d", i), mib, mount("")))
	}
	first, err := s.ListVolumes(s.context(), &csi.ListVolumesRequest{MaxEntries: 2})
	if err != nil {
		t.Fatal(err)
	}
	s.delete("pvc-1") // The one that the token names.
	s.delete("pvc-2")
	s.create(request("pvc-9", mib, mount("")))
	rest, err := s.ListVolumes(s.context(), &csi.ListVolumesRequest{StartingToken: first.GetNextToken()})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range rest.GetEntries() {
		got = append(got, e.GetVolume().GetVolumeId())
	}
	if want := []string{"pvc-3", "pvc-9"}; !slices.Equal(got, want) {
		t.Errorf("the rest is %v; want %v", got, want)
	}
	for _, token := range []string{"2", "after:", "after:a/b", "pvc-3"} {
		_, err := s.ListVolumes(s.context(), &csi.ListVolumesRequest{StartingToken: token})
		s.want(err, codes.Aborted, token)
	}
	_, err = s.ListVolumes(s.context(), &csi.ListVolumesRequest{MaxEntries: -1})
	s.want(err, codes.InvalidArgument, "max_entries")
}

func TestVolumeHealth(t *testing.T) {
	s := serve(t)
	for i := range 6 {
		req := request(fmt.Sprintf("pvc-%d", i), mib, mount(""))
		req.Parameters = map[string]string{"parent": []string{"tank/csi", "fast/csi"}[i%2]}
		s.create(req)
	}
	health := func(id string) string {
		t.Helper()
		resp, err := s.ControllerGetVolumeHealth(s.context(), &csi.ControllerGetVolumeHealthRequest{VolumeId: id})
		if err != nil || resp.GetVolumeHealth().GetVolumeId() != id {
			t.Fatalf("health of %s: %v, %v", id, resp, err)
		}
		var all string
		for _, h := range resp.GetVolumeHealth().GetHealthStatuses() {
			all += h.GetStatus().String() + " " + h.GetReason()
		}
		return all
	}
	for _, test := range []struct {
		tank, fast fake.PoolState
		even, odd  string // the health of volumes in tank and in fast
	}{
		{fake.Healthy, fake.Healthy, "", ""},
		{fake.Healthy, fake.Degraded, "", "DEGRADED PoolDegraded"},
		{fake.Healthy, fake.Suspended, "", "INACCESSIBLE PoolSuspended"},
		{fake.Exported, fake.Healthy, "INACCESSIBLE PoolNotImported", ""},
		{fake.Suspended, fake.Suspended, "INACCESSIBLE PoolSuspended", "INACCESSIBLE PoolSuspended"},
		{fake.Replaced, fake.Replaced, "INACCESSIBLE ParentMissing", "INACCESSIBLE ParentMissing"},
	} {
		s.store.SetPool("tank", test.tank)
		s.store.SetPool("fast", test.fast)
		if got := health("pvc-0"); got != test.even {
			t.Errorf("%+v: health in tank %q", test, got)
		}
		if got := health("pvc-1"); got != test.odd {
			t.Errorf("%+v: health in fast %q", test, got)
		}
	}

	s.store.SetPool("tank", fake.Healthy)
	s.store.SetPool("fast", fake.Degraded)
	for _, id := range []string{"missing", "a/b"} {
		_, err := s.ControllerGetVolumeHealth(s.context(), &csi.ControllerGetVolumeHealthRequest{VolumeId: id})
		s.want(err, codes.NotFound, id)
	}
	var got []string
	for token, pages := "", 0; pages == 0 || token != ""; pages++ {
		resp, err := s.ControllerListVolumeHealth(s.context(), &csi.ControllerListVolumeHealthRequest{MaxEntries: 2, StartingToken: token})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range resp.GetEntries() {
			got = append(got, e.GetVolumeId()+" "+e.GetHealthStatuses()[0].GetReason())
		}
		token = resp.GetNextToken()
	}
	if want := []string{"pvc-1 PoolDegraded", "pvc-3 PoolDegraded", "pvc-5 PoolDegraded"}; !slices.Equal(got, want) {
		t.Errorf("unwell are %v; want %v", got, want)
	}
	_, err := s.ControllerListVolumeHealth(s.context(), &csi.ControllerListVolumeHealthRequest{StartingToken: "x"})
	s.want(err, codes.Aborted)
}
