// Package history tries random histories: operations of every kind in an order that nobody would
// think of, through the driver's socket, against a model of what must then be there.
package history_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"pgregory.net/rapid"

	"github.com/zfs-csi/zfs-csi/e2e/service"
	"github.com/zfs-csi/zfs-csi/zfs"
)

// history is one history under way: what the model says, and what the driver was told to do.
type history struct {
	*rapid.T
	model
	storage storage
	*service.Service
	can can
	// dir holds the socket, the staging paths and the targets.
	dir string
	// topology is where all volumes can be reached.
	topology *csi.Topology

	lines   []string // an operation each, and its result
	touched []*snapshot
	ended   bool
	// failedBefore tells that a history has failed, which this one is to be a shorter form of.
	failedBefore bool

	// machine is the storage where the power can be cut, and else nil.
	machine *machine
	outage  *outage
}

// run runs one history to its end, at which nothing is left. It counts the steps in taken. failedBefore tells that one has failed.
func run(t *rapid.T, s storage, dir string, failedBefore bool, taken func()) {
	h := &history{T: t, storage: s, dir: dir, failedBefore: failedBefore}
	h.machine, _ = s.(*machine)
	t.Cleanup(h.tell)
	s.fresh(h.testing())
	t.Cleanup(h.leave)
	h.serve()
	h.can = h.capabilities()
	h.topology = h.ownTopology()

	actions := h.operations()
	for name, operation := range actions {
		actions[name] = func(*rapid.T) {
			h.step(name, func() { operation(t) })
			taken()
		}
	}
	t.Repeat(actions)
	if h.machine != nil {
		for end := h.machine.ofRound + cutsOfRound; h.machine.cuts < end; {
			t.Repeat(actions)
		}
	}
	h.close()
	h.stop()
	h.ended = true
}

// serve starts a driver.
func (h *history) serve() {
	var err error
	if h.Service, err = h.storage.serve(h.testing(), h.dir+"/csi.sock"); err != nil {
		h.Fatalf("start the driver: %v", err)
	}
}

// stop ends the driver, which has to end well.
func (h *history) stop() {
	err := h.Stop()
	h.Service = nil
	if err != nil {
		h.note("the driver stopped: %v", err)
		h.Fatalf("the driver did not stop as it should")
	}
}

// leave ends what a history that failed has left: the driver, and what is still in use.
func (h *history) leave() {
	for _, v := range h.volumes {
		if v.release != nil {
			v.release()
			h.storage.unmount(service.PlaceIn(h.dir, v.id))
		}
	}
	if h.Service != nil {
		if err := h.Stop(); err != nil {
			h.Errorf("the driver stopped: %v", err)
		}
	}
	if err := os.RemoveAll(h.dir); err != nil {
		h.Error(err)
	}
}

// tell prints the history, unless it has come to its end. What is printed is seen for the
// last that fails, which is the shortest; but the first, which may not fail a second time, is printed too.
func (h *history) tell() {
	if h.ended {
		return
	}
	text := fmt.Sprintf("the history:\n%s\nthe pools:\n%s", strings.Join(h.lines, "\n"), h.storage.listing(h.testing()))
	if h.test().Log(text); !h.failedBefore && h.machine == nil {
		h.storage.test().Logf("%s\nthe last warnings of all drivers:\n%s", text, lastWarnings)
	}
}

// note adds a line to the history.
func (h *history) note(format string, args ...any) {
	h.lines = append(h.lines, fmt.Sprintf("%3d  ", len(h.lines)+1)+fmt.Sprintf(format, args...))
}

// test returns what is told of the history. That is rapid, which tries what fails again to make it
// shorter; but not where the power is cut, since the moment of that does not come again.
func (h *history) test() rapid.TB {
	if h.machine != nil {
		return h.machine.t
	}
	return h.T
}

// Fatalf fails the history.
func (h *history) Fatalf(format string, args ...any) { h.test().Fatalf(format, args...) }

// call makes a call, again while it is ABORTED as an orchestrator does, and notes it with its
// result, which is errCut where the power was cut meanwhile; by then it is there again.
// What fails the history says nothing that differs from run to run: those with the same words are shrunk together.
func (h *history) call(what string, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), h.storage.patience())
	defer cancel()
	returned := h.outage.during(what, cancel)
	err := f(ctx)
	// What goes on after its answer does for a moment.
	for end := time.Now().Add(h.storage.patience() / 4); status.Code(err) == codes.Aborted && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond) // between two calls
		err = f(ctx)
	}
	if returned() {
		h.powerOn()
		return errCut
	}
	if err == nil {
		h.note("%s", what)
	} else {
		h.note("%s → %v", what, err)
	}
	return err
}

// allowed makes a call that the model allows, again when the power was cut meanwhile.
func (h *history) allowed(what string, f func(context.Context) error) {
	for !h.attempted(what, f) {
	}
}

// attempted makes a call that the model allows. It returns false when the power was cut meanwhile, so
// that nobody knows what has come of it.
func (h *history) attempted(what string, f func(context.Context) error) bool {
	err := h.call(what, f)
	if err != nil && !errors.Is(err, errCut) {
		h.Fatalf("a call was refused that the model allows")
	}
	return err == nil
}

// refused makes a call that must be refused with that code, and change nothing.
func (h *history) refused(code codes.Code, what string, f func(context.Context) error) {
	before := h.storage.listing(h.testing())
	err := h.call(what, f)
	if status.Code(err) != code {
		h.note("want code %s", code)
		h.Fatalf("a call was not refused as it should")
	}
	if after := h.storage.listing(h.testing()); after != before {
		h.note("before it the pools were:\n%s", before)
		h.Fatalf("a refused call changed the pools")
	}
}

// ownTopology asks the driver where its volumes can be reached.
func (h *history) ownTopology() *csi.Topology {
	ctx, cancel := context.WithTimeout(context.Background(), h.storage.patience())
	defer cancel()
	resp, err := h.NodeGetInfo(ctx, &csi.NodeGetInfoRequest{})
	if err != nil || len(resp.GetAccessibleTopology().GetSegments()) == 0 {
		h.Fatalf("the driver does not tell its topology: %v, %v", resp, err)
	}
	return resp.GetAccessibleTopology()
}

// can says what the driver offers.
type can struct {
	clone, expand, modify                bool
	snapshot, listSnapshots, getSnapshot bool
	group                                bool
}

// capabilities asks the driver what it offers. An older one has no service for groups.
func (h *history) capabilities() (c can) {
	ctx, cancel := context.WithTimeout(context.Background(), h.storage.patience())
	defer cancel()
	resp, err := h.ControllerGetCapabilities(ctx, &csi.ControllerGetCapabilitiesRequest{})
	if err != nil {
		h.Fatalf("ask for capabilities: %v", err)
	}
	has := map[csi.ControllerServiceCapability_RPC_Type]bool{}
	for _, x := range resp.GetCapabilities() {
		has[x.GetRpc().GetType()] = true
	}
	c = can{
		clone: has[csi.ControllerServiceCapability_RPC_CLONE_VOLUME], expand: has[csi.ControllerServiceCapability_RPC_EXPAND_VOLUME],
		modify: has[csi.ControllerServiceCapability_RPC_MODIFY_VOLUME], snapshot: has[csi.ControllerServiceCapability_RPC_CREATE_DELETE_SNAPSHOT],
		listSnapshots: has[csi.ControllerServiceCapability_RPC_LIST_SNAPSHOTS], getSnapshot: has[csi.ControllerServiceCapability_RPC_GET_SNAPSHOT],
	}
	groups, err := h.GroupControllerGetCapabilities(ctx, &csi.GroupControllerGetCapabilitiesRequest{})
	if err != nil && status.Code(err) != codes.Unimplemented {
		h.Fatalf("ask for capabilities: %v", err)
	}
	for _, x := range groups.GetCapabilities() {
		c.group = c.group || x.GetRpc().GetType() == csi.GroupControllerServiceCapability_RPC_CREATE_DELETE_GET_VOLUME_GROUP_SNAPSHOT
	}
	return c
}

// volumeID returns the ID as the storage takes it.
func (h *history) volumeID(v *volume) zfs.VolumeID {
	id, err := zfs.ParseVolumeID(v.id)
	if err != nil {
		h.Fatalf("the driver gave an ID that is none: %v", err)
	}
	return id
}
