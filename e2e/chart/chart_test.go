package chart_test

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// variants are values that an owner of a cluster may choose, as flags of helm, and whether the cluster has snapshots.
var variants = map[string][]string{
	"a pool in a file":  {"--set", "pool.file.enabled=true"},
	"parents":           {"--set", "parents={tank/csi,fast/csi}"},
	"both":              append([]string{"--set", "parents={tank/csi},pool.file.enabled=true"}, snapshotKinds...),
	"snapshots":         append([]string{"--set", "parents={tank/csi}"}, snapshotKinds...),
	"distributed":       append([]string{"--set", "parents={tank/csi},distributed=true"}, snapshotKinds...),
	"no sidecars":       {"--set", "parents={tank/csi},snapshotter.enabled=false,resizer.enabled=false"},
	"another driver":    {"--set", "parents={tank/csi},driverName=second.example.com,fullnameOverride=second,kubeletDir=/var/lib/k0s/kubelet"},
	"no classes":        append([]string{"--set", "parents={tank/csi},storageClasses=null,volumeAttributesClasses=null,volumeSnapshotClass.create=false,volumeGroupSnapshotClass.create=false"}, snapshotKinds...),
	"a volume limit":    {"--set", "pool.file.enabled=true,driver.maxVolumes=12"},
	"the node's tools":  {"--set", "pool.file.enabled=true,hostTools=true"},
	"images by digest":  {"--set", "parents={tank/csi},image.digest=sha256:" + strings.Repeat("0a", 32) + ",imagePullSecrets[0].name=key"},
	"placement":         {"--set", "parents={tank/csi},nodeSelector.zfs=yes,podLabels.team=a,podAnnotations.note=b,tolerations=null,affinity.nodeAffinity.x=null"},
	"a class in detail": {"--set-json", `parents=["tank/csi"]`, "--set-json", detailed},
}

// detailed is a StorageClass with all that it can have.
const detailed = `storageClasses=[{"name": "detailed", "default": true, "reclaimPolicy": "Retain", "volumeBindingMode": "Immediate",
	"allowVolumeExpansion": false, "fsType": "xfs", "parameters": {"parent": "tank/csi", "provisioning": "thick", "zfs.compression": "off"},
	"mountOptions": ["noatime"], "allowedTopologies": [{"matchLabelExpressions": [{"key": "zfs-csi.github.io/node", "values": ["a"]}]}],
	"annotations": {"a": "b"}, "labels": {"c": "d"}}, {"name": "plain"}]`

// TestVariants: every choice gives whole objects; nothing that belongs to the cluster or to others is among them, and
// nothing is done at an upgrade or uninstallation.
func TestVariants(t *testing.T) {
	for name, args := range variants {
		t.Run(name, func(t *testing.T) {
			for _, o := range render(t, args...) {
				if kind := o.text("kind"); kind == "CustomResourceDefinition" || kind == "Namespace" {
					t.Errorf("%s %s is not the chart's", kind, o.name())
				}
				if hook := o.hook(); hook != "" && hook != "test" {
					t.Errorf("%s is made at %q", o.name(), hook)
				}
			}
			if out, err := helm(t, append([]string{"lint", "--strict", chartDir}, lintable(args)...)...); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
	if _, err := helm(t, "lint", "--strict", chartDir); err != nil {
		t.Error(err)
	}
}

// lintable returns the flags without those that helm lint does not know.
func lintable(args []string) []string {
	return args[:len(args)-len(args[index(args, "--api-versions"):])]
}

func index(list []string, word string) int {
	if i := slices.Index(list, word); i >= 0 {
		return i
	}
	return len(list)
}

// TestDefaults: nothing is installed that has no place for volumes, and the message says what to choose.
func TestDefaults(t *testing.T) {
	_, err := helm(t, "template", "zfs-csi", chartDir)
	if err == nil || !strings.Contains(err.Error(), "parents={tank/csi}") || !strings.Contains(err.Error(), "pool.file.enabled=true") {
		t.Errorf("helm says %v", err)
	}
	// The pool in the file is another one than those of the other parents.
	_, err = helm(t, "template", "zfs-csi", chartDir, "--set", "parents={tank/csi},pool.file.enabled=true,pool.file.name=tank")
	if err == nil || !strings.Contains(err.Error(), "tank/csi is in a pool named tank") {
		t.Errorf("helm says %v", err)
	}
}

// TestPod: one pod a node, of four containers; the driver alone is privileged, and it alone has no token of the API.
func TestPod(t *testing.T) {
	objects := render(t, variants["both"]...)
	pod := object(one(t, objects, "DaemonSet").at("spec", "template", "spec").(map[string]any))
	var names []string
	for _, c := range append(pod.list("initContainers"), pod.list("containers")...) {
		name := c.text("name")
		names = append(names, name)
		isDriver := name == "zfs-csi"
		if got := c.at("securityContext", "privileged") == true; got != isDriver {
			t.Errorf("%s privileged: %t", name, got)
		}
		if c.at("securityContext", "readOnlyRootFilesystem") != true {
			t.Errorf("%s may write to its root", name)
		}
		if !isDriver && (c.at("securityContext", "allowPrivilegeEscalation") != false || c.text("securityContext", "capabilities", "drop", 0) != "ALL") {
			t.Errorf("%s has powers: %v", name, c["securityContext"])
		}
		mounts := map[string]object{}
		for _, m := range c.list("volumeMounts") {
			mounts[m.text("name")] = m
		}
		if (mounts["token"] != nil) == isDriver {
			t.Errorf("%s has a token: %t", name, isDriver)
		}
		if got := mounts["kubelet"].text("mountPropagation"); (got == "Bidirectional") != (name == "zfs-csi") {
			t.Errorf("%s sees the kubelet's folder %q", name, got)
		}
		if !isDriver {
			continue
		}
		if got := mounts["pool"].text("mountPropagation"); got != "HostToContainer" {
			t.Errorf("what is mounted for the pool's file later is seen: %q", got)
		}
		env := map[string]string{}
		for _, v := range c.list("env") {
			env[v.text("name")] = v.text("value")
		}
		// On another disk than the file, and kept.
		if got, want := env["ZFS_CSI_POOL_NOTE_DIR"], "/var/lib/kubelet/plugins/zfs-csi.github.io"; got != want {
			t.Errorf("the pool is noted in %q, want %q", got, want)
		}
		if got := env["ZFS_CSI_PARENT"]; got != "tank/csi,zfs-csi/csi" {
			t.Errorf("the parents are %q", got)
		}
	}
	if want := []string{"zfs-csi", "csi-provisioner", "csi-snapshotter", "csi-resizer"}; !slices.Equal(names, want) {
		t.Errorf("the containers are %v, want %v", names, want)
	}
	if pod.at("automountServiceAccountToken") != false {
		t.Error("all containers get a token")
	}
	for _, v := range pod.list("volumes") {
		if v.text("name") == "pool" && v.text("hostPath", "path") != "/var/lib/zfs-csi" {
			t.Errorf("the pool's file is in %v", v)
		}
	}
}

// TestSidecars: what each is told, on one node and on several.
func TestSidecars(t *testing.T) {
	flags := func(variant, container string) string {
		for _, c := range one(t, render(t, variants[variant]...), "DaemonSet").list("spec", "template", "spec", "containers") {
			if c.text("name") == container {
				var args []string
				for _, a := range c["args"].([]any) {
					args = append(args, a.(string))
				}
				return " " + strings.Join(args, " ") + " "
			}
		}
		t.Fatalf("%s: there is no container %s", variant, container)
		return ""
	}
	for _, test := range []struct {
		variant, container string
		has, hasNot        []string
	}{
		{"snapshots", "csi-provisioner", []string{"--node-deployment", "--strict-topology", "--immediate-topology=false", "--enable-capacity", "--extra-create-metadata"}, nil},
		{"distributed", "csi-provisioner", []string{"--node-deployment"}, []string{"--node-deployment-base-delay=0s"}},
		{"snapshots", "csi-snapshotter", []string{"--leader-election", "--extra-create-metadata"}, []string{"--node-deployment"}},
		{"distributed", "csi-snapshotter", []string{"--node-deployment"}, []string{"--leader-election"}},
		{"snapshots", "csi-resizer", []string{"--leader-election"}, nil},
		{"snapshots", "zfs-csi", nil, []string{"--expand-on-node"}},
		{"distributed", "zfs-csi", []string{"--expand-on-node"}, nil},
		{"a pool in a file", "zfs-csi", []string{"--pool-file=/var/lib/zfs-csi/pool.img", "--pool-size=20Gi"}, []string{"--max-volumes=0"}},
		{"snapshots", "zfs-csi", nil, []string{"--pool-file=/var/lib/zfs-csi/pool.img"}},
		{"a volume limit", "zfs-csi", []string{"--max-volumes=12"}, nil},
	} {
		got := flags(test.variant, test.container)
		for _, flag := range test.has {
			if !strings.Contains(got, " "+flag+" ") {
				t.Errorf("%s: %s is not given %s", test.variant, test.container, flag)
			}
		}
		for _, flag := range test.hasNot {
			if strings.Contains(got, " "+flag+" ") {
				t.Errorf("%s: %s is given %s", test.variant, test.container, flag)
			}
		}
	}
}

// TestClasses: the classes are made of the values, and those of snapshots only in a cluster that knows their kinds.
func TestClasses(t *testing.T) {
	kinds := func(variant string) map[string][]string {
		out := map[string][]string{}
		for _, o := range render(t, variants[variant]...) {
			if kind := o.text("kind"); strings.HasSuffix(kind, "Class") {
				out[kind] = append(out[kind], o.name())
			}
		}
		return out
	}
	for variant, want := range map[string]map[string][]string{
		"parents":    {"StorageClass": {"zfs"}, "VolumeAttributesClass": {"zfs-thick", "zfs-thin"}},
		"snapshots":  {"StorageClass": {"zfs"}, "VolumeAttributesClass": {"zfs-thick", "zfs-thin"}, "VolumeSnapshotClass": {"zfs"}, "VolumeGroupSnapshotClass": {"zfs"}},
		"no classes": {},
	} {
		if got := kinds(variant); !maps.EqualFunc(got, want, slices.Equal) {
			t.Errorf("%s: the classes are %v, want %v", variant, got, want)
		}
	}
	for _, o := range render(t, variants["a class in detail"]...) {
		if o.text("kind") != "StorageClass" {
			continue
		}
		detailed := o.name() == "detailed"
		if got := o.at("allowVolumeExpansion"); got != !detailed {
			t.Errorf("%s: allowVolumeExpansion is %v", o.name(), got)
		}
		if detailed && (o.text("parameters", "csi.storage.k8s.io/fstype") != "xfs" || o.text("parameters", "zfs.compression") != "off" ||
			o.text("metadata", "annotations", "storageclass.kubernetes.io/is-default-class") != "true" || o.text("mountOptions", 0) != "noatime") {
			t.Errorf("it is %v", o)
		}
	}
	driver := one(t, render(t, variants["another driver"]...), "CSIDriver")
	if driver.name() != "second.example.com" || driver.at("spec", "attachRequired") != false || driver.text("spec", "fsGroupPolicy") != "File" ||
		driver.at("spec", "storageCapacity") != true || driver.at("spec", "podInfoOnMount") != false {
		t.Errorf("the CSIDriver is %v", driver)
	}
}

// TestHelmTest: what helm test makes comes in its order, goes whatever happens, and is never taken for the driver's own pod.
func TestHelmTest(t *testing.T) {
	objects := render(t, variants["a pool in a file"]...)
	selector, _ := one(t, objects, "DaemonSet").at("spec", "selector", "matchLabels").(map[string]any)
	var order []string
	for _, o := range objects {
		if o.hook() == "" {
			continue
		}
		order = append(order, o.text("metadata", "annotations", "helm.sh/hook-weight")+" "+o.text("kind")+" "+o.name())
		policy := o.text("metadata", "annotations", "helm.sh/hook-delete-policy")
		for _, when := range []string{"before-hook-creation", "hook-succeeded", "hook-failed"} {
			if !strings.Contains(policy, when) {
				t.Errorf("%s does not go at %s", o.name(), when)
			}
		}
		taken := len(selector) > 0
		for key, value := range selector {
			taken = taken && o.at("metadata", "labels", key) == value
		}
		if taken {
			t.Errorf("the DaemonSet takes %s for a pod of its own", o.name())
		}
	}
	slices.Sort(order)
	want := []string{
		"0 PersistentVolumeClaim zfs-csi-test-source", "1 Pod zfs-csi-test-write",
		"2 PersistentVolumeClaim zfs-csi-test-clone", "3 Pod zfs-csi-test-compare",
	}
	if !slices.Equal(order, want) {
		t.Errorf("the order is %v, want %v", order, want)
	}
}

// TestNotes: the next commands name this release, and tell of snapshots only what its cluster needs to be told.
func TestNotes(t *testing.T) {
	notes := func(args ...string) string {
		t.Helper()
		dir := t.TempDir()
		if err := os.CopyFS(dir, os.DirFS(chartDir)); err != nil {
			t.Fatal(err)
		}
		// Helm prints the notes of an installation only; as a file of the chart they can be rendered.
		text := read(t, filepath.Join(dir, "templates/NOTES.txt"))
		if err := os.WriteFile(filepath.Join(dir, "notes"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		template := `notes: {{ tpl (.Files.Get "notes") . | toJson }}`
		if err := os.WriteFile(filepath.Join(dir, "templates/notes.yaml"), []byte(template), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := helm(t, append([]string{"template", "mine", dir, "-n", "storage", "--show-only", "templates/notes.yaml"}, args...)...)
		if err != nil {
			t.Fatal(err)
		}
		_, quoted, _ := strings.Cut(out, "notes: ")
		var said string
		if err := json.Unmarshal([]byte(quoted), &said); err != nil {
			t.Fatal(err)
		}
		return said
	}
	for variant, test := range map[string]struct{ has, hasNot []string }{
		"a pool in a file": {
			has: []string{"/var/lib/zfs-csi/pool.img", "helm test mine -n storage", "ds/mine-zfs-csi -- zfs-csi check", "external-snapshotter", "storageClassName: zfs",
				"helm upgrade mine manifests/chart -n storage --reuse-values"},
			hasNot: []string{"zfs-csi init", "too new"},
		},
		"snapshots": {has: []string{"zfs-csi init tank/csi"}, hasNot: []string{"external-snapshotter", "pool.img"}},
		"distributed": {
			has:    []string{"--enable-distributed-snapshotting", "patch clusterrole snapshot-controller-runner", "exec $pod -- zfs-csi init tank/csi"},
			hasNot: []string{"one node with a pool"},
		},
		"no classes": {hasNot: []string{"golden"}},
	} {
		said := notes(variants[variant]...)
		for _, words := range test.has {
			if !strings.Contains(said, words) {
				t.Errorf("%s: the notes do not say %q:\n%s", variant, words, said)
			}
		}
		for _, words := range test.hasNot {
			if strings.Contains(said, words) {
				t.Errorf("%s: the notes say %q:\n%s", variant, words, said)
			}
		}
	}
}
