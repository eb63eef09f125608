package zfs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// List implements Store. Its cost grows with the number of volumes.
func (l *Local) List(ctx context.Context) ([]*Volume, error) {
	if _, err := l.Check(ctx); err != nil {
		return nil, err
	}
	var volumes []*Volume
	err := l.each(ctx, []string{"-d", "1", "-t", "filesystem,volume"}, func(d Dataset, _ string, r row) error {
		id, err := ParseVolumeID(d.Leaf())
		if err != nil {
			return nil //nolint:nilerr // Not a name this driver gives; an unfinished copy, for one.
		}
		if r.local(propDeleted) != "" {
			return nil
		}
		v, err := decode(d.parent(), id, r)
		if err == nil {
			volumes = append(volumes, v)
		}
		if errors.Is(err, ErrNotOurs) {
			return nil
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list volumes: %w", err)
	}
	slices.SortFunc(volumes, func(a, b *Volume) int { return strings.Compare(a.ID.id, b.ID.id) })
	return volumes, nil
}

// each hands on, as `zfs get` tells of them, the datasets right below the parents and the snapshots of those, with what
// comes after the @; which of them, extra arguments say. Of thousands no more is held than what take keeps.
func (l *Local) each(ctx context.Context, extra []string, take func(d Dataset, leaf string, r row) error) error {
	p := getParser{take: func(name string, r row) error {
		dataset, leaf, _ := strings.Cut(name, "@")
		d, err := ParseDataset(dataset)
		if err != nil || !slices.Contains(l.parents, d.parent()) {
			return nil //nolint:nilerr // Not a name this driver gives.
		}
		return take(d, leaf, r)
	}}
	c := getCommand(strings.Join(asked, ","), append(extra, names(l.parents)...)...)
	c.Stdout = &p
	if _, err := l.run(ctx, c, names(l.parents)...); err != nil {
		return err
	}
	return p.end()
}

func names(datasets []Dataset) []string {
	out := make([]string, len(datasets))
	for i, d := range datasets {
		out[i] = d.name
	}
	return out
}
