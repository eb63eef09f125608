package chart_test

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const (
	examplesDir = "../../manifests/examples"
	kindDir     = "../../manifests/kind"
)

// clone is the example of the Kubernetes documentation as it stands there, in "CSI Volume Cloning".
const clone = `apiVersion: v1
kind: PersistentVolumeClaim
metadata:
    name: clone-of-pvc-1
    namespace: myns
spec:
  accessModes:
  - ReadWriteOnce
  storageClassName: cloning
  resources:
    requests:
      storage: 5Gi
  dataSource:
    kind: PersistentVolumeClaim
    name: pvc-1
`

// TestExamples: every example is made of whole objects, in an order, and needs no class but the chart's and its own.
func TestExamples(t *testing.T) {
	if got := read(t, filepath.Join(examplesDir, "cloning/4-clone-of-pvc-1.yaml")); got != clone {
		t.Errorf("the clone of the documentation is\n%s", got)
	}
	files, err := filepath.Glob(filepath.Join(examplesDir, "*/*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	readme := read(t, filepath.Join(examplesDir, "README.md"))
	chart := render(t, variants["snapshots"]...)
	numbered := regexp.MustCompile(`^[1-9]-[a-z0-9-]+\.yaml$`)
	known := map[string][]string{} // the names of classes by folder and kind; folder "" is the chart's
	note := func(folder string, objects []object) {
		for _, o := range objects {
			known[folder+o.text("kind")] = append(known[folder+o.text("kind")], o.name())
		}
	}
	note("", chart)
	for _, file := range files {
		folder := filepath.Base(filepath.Dir(file))
		if !numbered.MatchString(filepath.Base(file)) || !strings.Contains(readme, "`"+folder+"`") {
			t.Errorf("%s has no number, or README.md does not tell of its folder", file)
		}
		objects := decode(t, read(t, file))
		note(folder, objects)
		for _, o := range objects {
			if driver := o.text("provisioner") + o.text("driverName"); driver != "" && driver != "zfs-csi.github.io" {
				t.Errorf("%s: %s is of the driver %s", file, o.name(), driver)
			}
			for _, use := range uses(o) {
				if !slices.Contains(append(slices.Clone(known[use.kind]), known[folder+use.kind]...), use.name) {
					t.Errorf("%s: %s uses the %s %q, which neither the chart nor the files before make", file, o.name(), use.kind, use.name)
				}
			}
		}
	}
}

// use is a name of another object.
type use struct{ kind, name string }

// uses returns the classes and volumes that an object names, wherever it does.
func uses(o object) (out []use) {
	kinds := map[string]string{
		"storageClassName": "StorageClass", "volumeAttributesClassName": "VolumeAttributesClass", "volumeSnapshotClassName": "VolumeSnapshotClass",
		"volumeGroupSnapshotClassName": "VolumeGroupSnapshotClass", "claimName": "PersistentVolumeClaim", "persistentVolumeClaimName": "PersistentVolumeClaim",
	}
	var look func(any)
	look = func(value any) {
		switch value := value.(type) {
		case map[string]any:
			for key, v := range value {
				if name, ok := v.(string); ok && kinds[key] != "" {
					out = append(out, use{kinds[key], name})
				}
				look(v)
			}
		case []any:
			for _, v := range value {
				look(v)
			}
		}
	}
	look(map[string]any(o))
	return out
}

// TestKind: what the cluster shares with the machine is what the chart keeps there, and the quickstart is five commands
// that name things as they are.
func TestKind(t *testing.T) {
	cluster := object(decodeOne(t, read(t, filepath.Join(kindDir, "cluster.yaml"))))
	shared := map[string]bool{}
	for _, m := range cluster.list("nodes", 0, "extraMounts") {
		if m.text("hostPath") != m.text("containerPath") {
			t.Errorf("%s is at another path inside: %s", m.text("hostPath"), m.text("containerPath"))
		}
		shared[m.text("hostPath")] = true
	}
	for _, v := range one(t, render(t, variants["a pool in a file"]...), "DaemonSet").list("spec", "template", "spec", "volumes") {
		if name := v.text("name"); (name == "pool" || name == "run") && !shared[v.text("hostPath", "path")] {
			t.Errorf("the machine does not share %s", v.text("hostPath", "path"))
		}
	}

	readme := read(t, filepath.Join(kindDir, "README.md"))
	_, block, _ := strings.Cut(readme, "```\n")
	block, _, _ = strings.Cut(block, "```")
	commands := strings.Split(strings.TrimSpace(block), "\n")
	if len(commands) != 5 {
		t.Errorf("the quickstart has %d commands", len(commands))
	}
	meta := object(decodeOne(t, read(t, filepath.Join(chartDir, "Chart.yaml"))))
	image := "zfs-csi/zfs-csi:" + meta.text("appVersion")
	if strings.Count(block, image) != 2 || !strings.Contains(block, "--name "+cluster.text("name")) {
		t.Errorf("the quickstart does not name the image %s or the cluster %s:\n%s", image, cluster.text("name"), block)
	}
	for path := range strings.FieldsSeq(block) {
		if strings.HasPrefix(path, "manifests/") && filepath.Ext(path) == ".yaml" {
			read(t, filepath.Join("../..", path))
		}
	}
}

// TestInstall: the commands of README.md's install section name the image and the folder that the chart goes with, and make of its
// values whole objects. `make test-readme` runs them.
func TestInstall(t *testing.T) {
	_, section, _ := strings.Cut(read(t, "../../README.md"), "\n## Install\n")
	section, _, _ = strings.Cut(section, "\n### ")
	meta := object(decodeOne(t, read(t, filepath.Join(chartDir, "Chart.yaml"))))
	image := "IMAGE=" + object(values(t)).text("image", "repository") + ":" + meta.text("appVersion") + " "
	if !strings.Contains(section, "\nmake image "+image) {
		t.Errorf("the image that is built is not %s, of the chart:\n%s", image, section)
	}
	const install = "\nhelm install zfs-csi manifests/chart -n zfs-csi --create-namespace --set "
	ways := strings.Split(section, install)[1:]
	if len(ways) != 2 {
		t.Errorf("there are %d ways to install it", len(ways))
	}
	for _, way := range ways {
		set, _, _ := strings.Cut(way, "\n")
		render(t, "--set", strings.Trim(set, "'"))
	}
}
