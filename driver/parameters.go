package driver

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/zfs-csi/zfs-csi/zfs"
)

// The keys of parameters, besides those that begin with propertyPrefix or kubernetesPrefix.
const (
	parentKey       = "parent"
	provisioningKey = "provisioning"
	cloneModeKey    = "cloneMode"

	// propertyPrefix begins a native ZFS property.
	propertyPrefix = "zfs."
	// kubernetesPrefix begins what Kubernetes' own sidecars say of a volume.
	kubernetesPrefix = "csi.storage.k8s.io/"
)

// parameters are what a StorageClass asks of its volumes.
type parameters struct {
	parent zfs.Dataset
	// thick reserves the volume's size; else only what is written takes space.
	thick bool
	// copy makes a full copy where a clone would do.
	copy       bool
	properties zfs.Properties
	// labels are what Kubernetes says of the volume, as names and values for zfs.Attributes.
	labels map[string]string
}

// parseParameters returns what given asks of volumes of a kind below one of the
// parents, the first unless it names another. The error names the key that is
// wrong and all that is allowed.
func parseParameters(given map[string]string, kind zfs.Kind, parents []zfs.Dataset) (parameters, error) {
	p := parameters{parent: parents[0], properties: zfs.Properties{}, labels: map[string]string{}}
	for _, key := range slices.Sorted(maps.Keys(given)) {
		if err := p.set(key, given[key], kind, parents); err != nil {
			return parameters{}, err
		}
	}
	return p, nil
}

// set takes one parameter.
func (p *parameters) set(key, value string, kind zfs.Kind, parents []zfs.Dataset) (err error) {
	property, native := strings.CutPrefix(key, propertyPrefix)
	label, ofKubernetes := strings.CutPrefix(key, kubernetesPrefix)
	switch {
	case key == parentKey:
		var names []string
		for _, parent := range parents {
			names = append(names, parent.String())
		}
		p.parent, err = choice(key, value, names, parents)
	case key == provisioningKey:
		p.thick, err = choice(key, value, []string{"thin", "thick"}, []bool{false, true})
	case key == cloneModeKey:
		p.copy, err = choice(key, value, []string{"cow", "copy"}, []bool{false, true})
	case native:
		name, parsed, err := zfs.ParseProperty(kind, property, value)
		if err != nil {
			return fmt.Errorf("parameter %q: %w", key, err)
		}
		p.properties[name] = parsed
	case ofKubernetes:
		p.labels[labelKey(label)] = value
	default:
		return fmt.Errorf("parameter %q is not known; allowed: %s, %s, %s, and %s with one of %s",
			key, parentKey, provisioningKey, cloneModeKey, propertyPrefix+"<property>", strings.Join(zfs.AllowedProperties(kind), ", "))
	}
	return err
}

// choice returns the meaning of the value, which must be one of the names.
func choice[T any](key, value string, names []string, meanings []T) (T, error) {
	if i := slices.Index(names, value); i >= 0 {
		return meanings[i], nil
	}
	var none T
	return none, fmt.Errorf("parameter %q cannot be %q; allowed: %s", key, value, strings.Join(names, ", "))
}

// labelKey makes the end of a user property's name (zfsprops(7), "User Properties")
// of the end of a Kubernetes key: "pvc/name" becomes "pvc.name".
func labelKey(key string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z' || '0' <= r && r <= '9' || strings.ContainsRune(":+._-", r):
			return r
		case r == '/':
			return '.'
		}
		return '-'
	}, strings.ToLower(key))
}

// String returns a canonical text of what differs from the defaults, the parent and
// the labels left out: two StorageClasses that ask for the same have the same.
func (p parameters) String() string {
	var parts []string
	if p.copy {
		parts = append(parts, cloneModeKey+"=copy")
	}
	if p.thick {
		parts = append(parts, provisioningKey+"=thick")
	}
	for _, name := range slices.Sorted(maps.Keys(p.properties)) {
		parts = append(parts, propertyPrefix+string(name)+"="+p.properties[name])
	}
	return strings.Join(parts, " ")
}

// parseMutable returns the change that mutable parameters ask of a volume of a kind: those of a
// StorageClass that can change while a volume lives. What Kubernetes' sidecars say of the
// volume is passed over. The error names the key that is wrong and all that is allowed.
func parseMutable(given map[string]string, kind zfs.Kind) (zfs.Change, error) {
	allowed := slices.DeleteFunc(zfs.AllowedProperties(kind), func(name string) bool { return !zfs.Mutable(name) })
	p := parameters{properties: zfs.Properties{}, labels: map[string]string{}}
	change := zfs.Change{Properties: p.properties}
	for _, key := range slices.Sorted(maps.Keys(given)) {
		property, native := strings.CutPrefix(key, propertyPrefix)
		mutable := key == provisioningKey || native && slices.Contains(allowed, property)
		if !mutable && !strings.HasPrefix(key, kubernetesPrefix) {
			return zfs.Change{}, fmt.Errorf("%q is not a mutable parameter of a %s; allowed: %s, and %s with one of %s",
				key, kind, provisioningKey, propertyPrefix+"<property>", strings.Join(allowed, ", "))
		}
		if err := p.set(key, given[key], kind, nil); err != nil {
			return zfs.Change{}, err
		}
		if key == provisioningKey {
			change.Thick = &p.thick
		}
	}
	return change, nil
}
