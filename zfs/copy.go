package zfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// DefaultProgress is how often a copy tells how far it is, unless configured otherwise.
const DefaultProgress = 10 * time.Second

// Beginnings of the names of datasets below a parent that are no volumes; no volume's ID
// begins like that.
const (
	// copyPrefix is that of copies that are not whole; delete.lua knows it too.
	copyPrefix = ".copy-"
	// emptyPrefix is that of empty zvols to compare others with.
	emptyPrefix = ".empty-"
)

// copy makes a volume with the bytes of a snapshot of src by send and receive. The bytes go to
// a dataset of another name, which gets the volume's name when it is whole: a copy
// that is interrupted leaves no volume, and made again begins anew. ZFS discards
// by itself what an interrupted receive wrote, also when the power went.
func (l *Local) copy(ctx context.Context, id VolumeID, src *Volume, snapshot string, spec CloneSpec, parent row) (*Volume, error) {
	target := spec.Parent.volume(id)
	unfinished := Dataset{spec.Parent.name + "/" + copyPrefix + id.id}
	attributes, err := spec.Attributes.properties()
	if err != nil {
		return nil, err
	}
	if err := l.roomFor(ctx, spec); err != nil {
		return nil, err
	}
	if err := l.discard(ctx, unfinished); err != nil {
		return nil, err
	}
	received := options(spec.fixed(parent), spec.native(), attributes, []string{propKind + "=" + l.snapshotName(kindCopy)})
	err = l.transfer(ctx, snapshot, unfinished, received)
	if err == nil {
		err = l.finish(ctx, unfinished, snapshot[strings.IndexByte(snapshot, '@')+1:], target, spec)
	}
	if err != nil {
		return nil, errors.Join(err, l.discard(context.WithoutCancel(ctx), unfinished))
	}
	return spec.made(id, src.BlockSize), nil
}

// roomFor returns ErrNoSpace where a thick volume cannot have its space reserved.
func (l *Local) roomFor(ctx context.Context, spec CloneSpec) error {
	if !spec.Thick {
		return nil
	}
	r, err := readRow(ctx, l.runner, spec.Parent, "available")
	if err != nil {
		return err
	}
	if available, err := r.size("available"); err == nil && spec.Size > available {
		return fmt.Errorf("%d bytes are to be reserved, and %d are available: %w", spec.Size, available, ErrNoSpace)
	}
	return nil
}

// transfer sends a snapshot into a dataset that is not there yet. Large blocks are
// kept; the stream is not compressed, so that the target's own compression applies.
func (l *Local) transfer(ctx context.Context, snapshot string, target Dataset, received []string) error {
	sending, cancel := context.WithCancel(ctx)
	defer cancel()
	reader, writer, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("make a pipe: %w", err)
	}
	progress := &progress{writer: writer}
	defer l.report(ctx, snapshot, target, progress)()

	sent := make(chan error, 1)
	go func() {
		_, err := l.run(sending, Command{Name: "zfs", Args: []string{"send", "-L", snapshot}, Stdout: progress}, snapshot)
		sent <- errors.Join(err, writer.Close())
	}()
	args := append(append([]string{"receive", "-u"}, received...), target.name)
	_, receiveErr := l.run(ctx, Command{Name: "zfs", Args: args, Stdin: reader}, target.name)
	if receiveErr != nil {
		cancel()
	}
	// Without a reader a sender that is still writing ends.
	closeErr := reader.Close()
	sendErr := <-sent
	if receiveErr != nil && sending.Err() != nil && errors.Is(sendErr, sending.Err()) {
		return receiveErr
	}
	// Where both failed, one is the cause of the other.
	return errors.Join(receiveErr, sendErr, closeErr)
}

// finish makes a copy that is whole the volume that was asked for.
func (l *Local) finish(ctx context.Context, unfinished Dataset, leaf string, target Dataset, spec CloneSpec) error {
	snapshot := unfinished.name + "@" + leaf
	if err := l.zfs(ctx, snapshot, "destroy", snapshot); err != nil {
		return err
	}
	if err := l.limit(ctx, unfinished, spec.Spec); err != nil {
		return err
	}
	if err := l.change(ctx, unfinished, "rename", unfinished.name, target.name); err != nil {
		return err
	}
	return l.zfs(ctx, target.name, "inherit", propKind, target.name)
}

// discard removes an unfinished copy, if there is one.
func (l *Local) discard(ctx context.Context, unfinished Dataset) error {
	err := l.zfs(ctx, unfinished.name, "destroy", unfinished.name+"@%")
	if err == nil || errors.Is(err, ErrNotFound) {
		err = l.change(ctx, unfinished, "destroy", unfinished.name)
	}
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// report logs how far a copy is, until the function it returns is called.
func (l *Local) report(ctx context.Context, snapshot string, target Dataset, p *progress) (stop func()) {
	start := time.Now()
	done := make(chan struct{})
	line := func(message string) {
		l.log.InfoContext(ctx, message, "from", snapshot, "to", target.name,
			"bytes", p.bytes.Load(), "elapsed", time.Since(start).Round(time.Millisecond))
	}
	go func() {
		for ticker := time.NewTicker(l.progress); ; {
			select {
			case <-ticker.C:
				line("copying")
			case <-done:
				ticker.Stop()
				return
			}
		}
	}()
	return func() {
		close(done)
		line("copy ended")
	}
}

// progress counts the bytes that are written through it.
type progress struct {
	writer io.Writer
	bytes  atomic.Int64
}

func (p *progress) Write(b []byte) (int, error) {
	n, err := p.writer.Write(b)
	p.bytes.Add(int64(n))
	if err != nil {
		err = fmt.Errorf("after %s bytes: %w", strconv.FormatInt(p.bytes.Load(), 10), err)
	}
	return n, err
}
