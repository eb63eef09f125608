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
	c := getCommand(strings.Join(asked, ","), append([]string{"-d", "1", "-t", "filesystem,volume"}, names(l.parents)...)...)
	out, err := l.run(ctx, c, names(l.parents)...)
	if err != nil {
		return nil, fmt.Errorf("list volumes: %w", err)
	}
	rows, order, err := parseGet(out)
	if err != nil {
		return nil, fmt.Errorf("list volumes: %w", err)
	}
	var volumes []*Volume
	for _, name := range order {
		d, err := ParseDataset(name)
		if err != nil || !slices.Contains(l.parents, d.parent()) {
			continue
		}
		id, err := ParseVolumeID(d.Leaf())
		if err != nil {
			continue // Not a name this driver gives; an unfinished copy, for one.
		}
		if rows[name].local(propDeleted) != "" {
			continue
		}
		switch v, err := decode(d.parent(), id, rows[name]); {
		case errors.Is(err, ErrNotOurs):
		case err != nil:
			return nil, err
		default:
			volumes = append(volumes, v)
		}
	}
	slices.SortFunc(volumes, func(a, b *Volume) int { return strings.Compare(a.ID.id, b.ID.id) })
	return volumes, nil
}

func names(datasets []Dataset) []string {
	out := make([]string, len(datasets))
	for i, d := range datasets {
		out[i] = d.name
	}
	return out
}
