// Package chart holds the Helm chart, the kind quickstart and the examples to what they promise, without a cluster:
// what Helm makes of the chart is read and looked at. `make lint-chart` runs it; without Helm it is skipped.
package chart_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

const (
	chartDir = "../../manifests/chart"
	// helmVariable names the helm program.
	helmVariable = "ZFS_CSI_HELM"
	// binaryVariable names the driver's program.
	binaryVariable = "ZFS_CSI_BINARY"
)

// snapshotKinds are what a cluster with the snapshot CRDs tells Helm of.
var snapshotKinds = []string{
	"--api-versions", "snapshot.storage.k8s.io/v1/VolumeSnapshotClass",
	"--api-versions", "groupsnapshot.storage.k8s.io/v1/VolumeGroupSnapshotClass",
}

// helm runs helm and returns what it prints.
func helm(t *testing.T, args ...string) (string, error) {
	t.Helper()
	program := os.Getenv(helmVariable)
	if program == "" {
		t.Skipf("%s is not set: helm is needed, see `make help`", helmVariable)
	}
	if _, err := os.Stat(chartDir); errors.Is(err, os.ErrNotExist) {
		t.Skip("the chart is not beside this test")
	}
	if args[0] == "template" {
		args = append(args, "--kube-version", "1.36.0") // A Helm that was built by go install takes itself to be of 2020.
	}
	cmd := exec.CommandContext(t.Context(), program, args...)
	// Nothing of the person's who runs this: no repositories, no cluster, no plugins.
	cmd.Env = []string{"HOME=" + t.TempDir(), "PATH=" + os.Getenv("PATH"), "KUBECONFIG=/dev/null"}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("helm %s: %w: %s%s", strings.Join(args, " "), err, stderr.String(), stdout.String())
	}
	return stdout.String(), nil
}

// object is an object of Kubernetes.
type object map[string]any

// at returns what is found by the keys and indices of path; nil where there is nothing.
func (o object) at(path ...any) any {
	var here any = map[string]any(o)
	for _, step := range path {
		switch step := step.(type) {
		case string:
			m, _ := here.(map[string]any)
			here = m[step]
		case int:
			l, _ := here.([]any)
			if step >= len(l) {
				return nil
			}
			here = l[step]
		}
	}
	return here
}

// text is at for a string; "" where there is none.
func (o object) text(path ...any) string {
	s, _ := o.at(path...).(string)
	return s
}

// list is at for a list of objects.
func (o object) list(path ...any) (out []object) {
	l, _ := o.at(path...).([]any)
	for _, e := range l {
		m, _ := e.(map[string]any)
		out = append(out, m)
	}
	return out
}

func (o object) name() string { return o.text("metadata", "name") }

// hook returns for which events Helm makes the object; "" for an ordinary one.
func (o object) hook() string { return o.text("metadata", "annotations", "helm.sh/hook") }

// decode reads the documents of a YAML text, each of which must be an object with a name that no other has.
func decode(t *testing.T, text string) (out []object) {
	t.Helper()
	seen := map[string]bool{}
	decoder := yaml.NewDecoder(strings.NewReader(text))
	for {
		var m map[string]any
		err := decoder.Decode(&m)
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatalf("not YAML: %v\n%s", err, text)
		}
		if len(m) == 0 {
			continue
		}
		o := object(m)
		if o.text("apiVersion") == "" || o.text("kind") == "" || o.name() == "" {
			t.Fatalf("an object lacks its kind or name: %v", o)
		}
		id := o.text("kind") + " " + o.text("metadata", "namespace") + "/" + o.name()
		if seen[id] {
			t.Errorf("%s is there twice", id)
		}
		seen[id] = true
		out = append(out, o)
	}
}

// render returns the objects that an installation with the flags makes, the tests' too.
func render(t *testing.T, args ...string) []object {
	t.Helper()
	out, err := helm(t, append([]string{"template", "zfs-csi", chartDir, "--namespace", "storage"}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	return decode(t, out)
}

// one returns the only object of a kind that is no hook.
func one(t *testing.T, objects []object, kind string) object {
	t.Helper()
	var found []object
	for _, o := range objects {
		if o.text("kind") == kind && o.hook() == "" {
			found = append(found, o)
		}
	}
	if len(found) != 1 {
		t.Fatalf("there are %d of kind %s", len(found), kind)
	}
	return found[0]
}

// decodeOne reads a YAML text that is one map.
func decodeOne(t *testing.T, text string) (out map[string]any) {
	t.Helper()
	if err := yaml.Unmarshal([]byte(text), &out); err != nil {
		t.Fatalf("not YAML: %v\n%s", err, text)
	}
	return out
}

// values returns the chart's default values.
func values(t *testing.T) map[string]any {
	t.Helper()
	return decodeOne(t, read(t, filepath.Join(chartDir, "values.yaml")))
}

// read returns a file of the project. The test is skipped where it runs away from it.
func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		t.Skipf("%s is not beside this test", path)
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
