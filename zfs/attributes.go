package zfs

import (
	"fmt"
	"net/url"
	"strings"
)

// The user properties that hold the driver's memory; see zfsprops(7), "User
// Properties". They are inherited, so each is trusted only where its source is local.
const (
	// propDriver marks a parent with the name of the driver it belongs to.
	propDriver = "zfs-csi:driver"
	// propVolume marks a volume and holds the caller's name of it.
	propVolume = "zfs-csi:volume"
	// propKind marks a snapshot or dataset of the driver's own making that is no
	// volume. Its value is a snapshotName, which tells what it serves and which
	// process made it.
	propKind = "zfs-csi:kind"
	// propFor holds, on a snapshot that was taken for a volume to be made of it, that
	// volume's ID.
	propFor = "zfs-csi:for"
	// propSnapshot marks a caller's snapshot, and the entry that stands for its name (see entry.go),
	// and holds the caller's name of it; propSources tells what they are of, see source.
	propSnapshot = "zfs-csi:snapshot"
	propSources  = "zfs-csi:sources"
	// propGroup marks snapshots that were asked for as a group.
	propGroup = "zfs-csi:group"
	// propDeleted marks a volume that is deleted and whose snapshots live: a tombstone.
	propDeleted = "zfs-csi:deleted"
	// propChanging holds, on a volume that is being modified, what it was before; see past.
	propChanging = "zfs-csi:changing"
	// propSize holds the size of a filesystem whose quota is larger, and that quota: "16777216/16817152". See limits.
	propSize       = "zfs-csi:size"
	propFSType     = "zfs-csi:fstype"
	propFormatted  = "zfs-csi:formatted"
	propSource     = "zfs-csi:source"
	propParameters = "zfs-csi:parameters"
	propLabels     = "zfs-csi:labels"
)

// What things that are no volumes serve; see snapshotName.
const (
	kindClone = "clone"
	kindCopy  = "copy"
	kindEmpty = "empty"
	// kindEntries: what further entries are of; see entry.go.
	kindEntries = "entries"
	// kindDeleted is that of a caller's snapshot that is deleted, waits for its last clone to
	// go, and was in the way of another of its name.
	kindDeleted = "deleted"
)

// maxPropertyValue is what ZFS allows for a user property's value, in bytes.
const maxPropertyValue = 8191

// properties returns a as "name=value" arguments, values that are empty left out.
func (a Attributes) properties() ([]string, error) {
	if a.Name == "" {
		return nil, fmt.Errorf("a volume without a name: %w", ErrInvalid)
	}
	formatted := ""
	if a.Formatted {
		formatted = "yes"
	}
	var out []string
	for _, p := range []struct{ name, value string }{
		{propVolume, escape(a.Name)},
		{propFSType, escape(a.FSType)},
		{propFormatted, formatted},
		{propSource, escape(a.Source)},
		{propParameters, escape(a.Parameters)},
		{propLabels, formatLabels(a.Labels)},
	} {
		if err := checkLength(p.name, p.value); err != nil {
			return nil, err
		}
		if p.value != "" {
			out = append(out, p.name+"="+p.value)
		}
	}
	return out, nil
}

// checkLength returns ErrInvalid for a property that is longer than ZFS keeps.
func checkLength(name, value string) error {
	if len(value) > maxPropertyValue {
		return fmt.Errorf("value of %s is %d bytes, more than the %d that ZFS keeps: %w", name, len(value), maxPropertyValue, ErrInvalid)
	}
	return nil
}

// formatLabels returns labels as one text.
func formatLabels(labels map[string]string) string {
	values := url.Values{}
	for key, value := range labels {
		values.Set(key, value)
	}
	return values.Encode()
}

// attributes reads what properties wrote.
func attributes(local func(string) string) (Attributes, error) {
	a := Attributes{Formatted: local(propFormatted) == "yes"}
	for name, field := range map[string]*string{
		propVolume: &a.Name, propFSType: &a.FSType, propSource: &a.Source, propParameters: &a.Parameters,
	} {
		value, err := unescape(local(name))
		if err != nil {
			return Attributes{}, fmt.Errorf("property %s: %w", name, err)
		}
		*field = value
	}
	labels, err := url.ParseQuery(local(propLabels))
	if err != nil {
		return Attributes{}, fmt.Errorf("property %s: %w", propLabels, err)
	}
	for key := range labels {
		if a.Labels == nil {
			a.Labels = map[string]string{}
		}
		a.Labels[key] = labels.Get(key)
	}
	return a, nil
}

// unescape takes back what escape did.
func unescape(s string) (string, error) { return url.PathUnescape(s) }

// escape makes any text fit for a property and leaves what people write in names legible.
func escape(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c > '~' || c == '%' {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}
