package main

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

//go:embed cluster
var clusterAssets embed.FS

// Cluster is a disk with all that makes Kubernetes of a machine, and what is needed
// beside it: programs for this computer and the way in.
type Cluster struct{ dir string }

func (c Cluster) disk() string { return filepath.Join(c.dir, "cluster.img") }

// programs is the folder with kubectl and helm, and with those of the control plane.
func (c Cluster) programs() string { return filepath.Join(c.dir, "bin") }

// identities is the folder with all certificates, keys and kubeconfigs.
func (c Cluster) identities() string { return filepath.Join(c.dir, "identities") }

// manifests is the folder with the objects the cluster begins with.
func (c Cluster) manifests() string { return filepath.Join(c.dir, "manifests") }

const (
	// clusterDiskSize is what the guest sees; the file is sparse.
	clusterDiskSize = "3G"
	// clusterLayout is raised when [clusterBuilder.layOut] lays the same things out in another way.
	clusterLayout = 4
	// clusterSuite is the one whose packages the cluster is made of, and thus the machine's:
	// the etcd of the one before is too old.
	clusterSuite = "trixie"
)

// clusterPackages are unpacked on the cluster's disk, and so is each library of theirs that
// the machine has not. Of what they bring, etcd runs on this computer.
var clusterPackages = []string{
	"containerd", "crun", "libyajl2", "containernetworking-plugins", "etcd-server",
	"nftables", "libnftables1", "libnftnl11", "libmnl0", "libjansson4", "libxtables12", "libedit2", "libbsd0", "libmd0",
	"busybox-static", "catatonit",
}

// findCluster returns the disk of the cluster, built if there is none.
func findCluster(ctx context.Context, cache Cache) (Cluster, error) {
	modules, err := findModules()
	if err != nil {
		return Cluster{}, err
	}
	builder := clusterBuilder{modules: modules}
	recipe, err := os.ReadFile(filepath.Join(modules.checkout, "Dockerfile"))
	if err != nil {
		return Cluster{}, fmt.Errorf("find what the driver's image is made of: %w", err)
	}
	below, _, found := strings.Cut(string(recipe), "\nFROM tools\n")
	if !found {
		return Cluster{}, errors.New("the Dockerfile has no stage that begins FROM tools")
	}
	for _, part := range []struct {
		module Module
		tools  *string
	}{{modules.kubernetes, &builder.kubernetes}, {modules.provisioner, &builder.provisioner}, {modules.addons, &builder.addons}} {
		if *part.tools, err = part.module.tools(ctx, cache); err != nil {
			return Cluster{}, err
		}
	}
	if err := builder.findVersions(ctx); err != nil {
		return Cluster{}, err
	}
	texts := map[string]string{}
	if err := fs.WalkDir(clusterAssets, "cluster", func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			var data []byte
			data, err = clusterAssets.ReadFile(path)
			texts[path] = string(data)
		}
		return err
	}); err != nil {
		return Cluster{}, fmt.Errorf("read the cluster's configuration: %w", err)
	}
	delete(texts, clusterStart) // it is no part of the disk
	texts["images"] = fmt.Sprintf("%+v", builder.images("", ""))
	texts["below the driver"] = below
	sum := key(clusterLayout, builder.kubernetes, builder.provisioner, builder.addons, texts, clusterPackages, imageRootArgs, mmdebstrapArgs, clusterSuite, assetText("unpack.sh"), clusterDiskSize, clusterUsers, serverNames, controlPlane, nodesAPIServer)
	dir, err := cache.entry(ctx, "cluster-"+sum, func(ctx context.Context, dir string) error {
		builder.dir = dir
		c, release, err := openContainers(ctx, cache)
		if err != nil {
			return err
		}
		defer release() //nolint:errcheck // the lock ends with this program at the latest
		return builder.build(ctx, c)
	})
	return Cluster{dir}, err
}

// clusterStart is the script that starts the cluster in the machine.
const clusterStart = "cluster/start.sh"

func clusterStartText() string {
	data, err := clusterAssets.ReadFile(clusterStart)
	if err != nil {
		panic(err) // the file is part of this program
	}
	return string(data)
}

// clusterBuilder holds what a cluster's disk is built from, and where.
type clusterBuilder struct {
	modules     Modules
	kubernetes  string // folders of tools
	provisioner string
	addons      string
	versions    map[string]string // of the modules that images are named after
	dir         string
}

const (
	provisionerModule    = "github.com/kubernetes-csi/external-provisioner/v6"
	resizerModule        = "github.com/kubernetes-csi/external-resizer/v2"
	snapshotterModule    = "github.com/kubernetes-csi/external-snapshotter/v8"
	snapshotClientModule = "github.com/kubernetes-csi/external-snapshotter/client/v8"
)

// findVersions asks for the versions that the sidecars' images are named after.
func (b *clusterBuilder) findVersions(ctx context.Context) (err error) {
	b.versions = map[string]string{}
	for path, module := range map[string]Module{
		provisionerModule: b.modules.provisioner, resizerModule: b.modules.addons, snapshotterModule: b.modules.addons,
	} {
		if b.versions[path], err = module.version(ctx, path); err != nil {
			return err
		}
	}
	return nil
}

func (b *clusterBuilder) build(ctx context.Context, c containers) error {
	if os.Geteuid() != 0 {
		return errors.New("the cluster's disk is built as root")
	}
	log := filepath.Join(b.dir, "build.log")
	latest := func() string { return strings.TrimSpace(lastLines(log, 1)) }
	packages := filepath.Join(b.dir, "packages")
	root := filepath.Join(b.dir, "root.tar")
	images := filepath.Join(b.dir, "images.tar")
	tools := filepath.Join(b.dir, "tools.tar") // what is below the driver, so that it need not be sent
	tree := filepath.Join(b.dir, "tree")
	if err := os.Mkdir(tree, 0o755); err != nil {
		return fmt.Errorf("make a folder for the disk: %w", err)
	}
	for _, part := range []struct {
		title string
		work  func(ctx context.Context) error
	}{
		{"fetch the cluster's packages", func(ctx context.Context) error { return b.unpack(ctx, packages, log) }},
		{"make the root of its images", func(ctx context.Context) error { return b.imageRoot(ctx, root, log) }},
		{"make its images", func(ctx context.Context) error {
			return b.writeImages(ctx, images, packages, root, log)
		}},
		{"make the base of the driver's image", func(ctx context.Context) error {
			if err := c.buildTools(ctx, b.modules.checkout); err != nil {
				return err
			}
			return c.save(ctx, localTools, localTools, tools)
		}},
		{"unpack them", func(ctx context.Context) error { return b.unpackImages(ctx, tree, packages, log, images, tools) }},
		{"make its disk", func(ctx context.Context) error {
			return errors.Join(b.layOut(ctx, tree, packages), b.keep(packages), b.makeDisk(ctx, tree, log))
		}},
	} {
		if err := step(ctx, part.title, latest, part.work); err != nil {
			return err
		}
	}
	return errors.Join(os.RemoveAll(packages), os.RemoveAll(tree), os.Remove(images), os.Remove(tools), os.Remove(root))
}

// layOut puts everything but the images where the machine looks for it.
func (b *clusterBuilder) layOut(ctx context.Context, tree, packages string) error {
	if err := copyFiles(b.kubernetes, filepath.Join(tree, "bin"), func(entry fs.DirEntry) bool {
		return entry.Name() == "kubelet" || entry.Name() == "kube-proxy"
	}); err != nil {
		return err
	}
	file := func(entry fs.DirEntry) bool {
		return entry.Type().IsRegular() && !slices.Contains(controlPlane, entry.Name())
	}
	link := func(entry fs.DirEntry) bool { return !entry.Type().IsRegular() } // under which a library is looked for
	for _, part := range []struct {
		from, to string
		wanted   func(fs.DirEntry) bool
	}{
		{"usr/bin", "bin", file}, {"usr/sbin", "bin", file}, {"usr/lib/cni", "cni", file}, {"usr/lib/x86_64-linux-gnu", "lib", link},
	} {
		if err := copyFiles(filepath.Join(packages, part.from), filepath.Join(tree, part.to), part.wanted); err != nil {
			return err
		}
	}
	configuration, err := fs.Sub(clusterAssets, "cluster")
	if err != nil {
		return err
	}
	etc := filepath.Join(tree, "etc")
	if err := os.CopyFS(etc, configuration); err != nil {
		return fmt.Errorf("lay out the cluster's configuration: %w", err)
	}
	return errors.Join(b.manifests(ctx, etc, Cluster{b.dir}.manifests()), b.identify(etc))
}

// identify makes all certificates and keys, of which the machine gets those of the node.
func (b *clusterBuilder) identify(etc string) error {
	identities := Cluster{b.dir}.identities()
	if err := errors.Join(writeIdentities(identities), os.MkdirAll(filepath.Join(etc, "pki"), 0o755)); err != nil {
		return err
	}
	var faults []error
	for _, name := range []string{"pki/ca.crt", "kubelet.kubeconfig", "kube-proxy.kubeconfig"} {
		faults = append(faults, copyFile(filepath.Join(identities, name), filepath.Join(etc, name)))
	}
	return errors.Join(faults...)
}

// manifests collects the objects the cluster begins with, those of snapshots, and keeps them on this computer.
func (b *clusterBuilder) manifests(ctx context.Context, etc, to string) error {
	controller, err := b.modules.addons.folder(ctx, snapshotterModule)
	if err != nil {
		return err
	}
	client, err := b.modules.addons.folder(ctx, snapshotClientModule)
	if err != nil {
		return err
	}
	if err := copyFiles(filepath.Join(client, "config/crd"), to, func(entry fs.DirEntry) bool {
		return strings.Contains(entry.Name(), "snapshot.storage.k8s.io")
	}); err != nil {
		return err
	}
	roles := filepath.Join(controller, "deploy/kubernetes/snapshot-controller/rbac-snapshot-controller.yaml")
	if err := copyFile(roles, filepath.Join(to, filepath.Base(roles))); err != nil {
		return err
	}
	deployment := filepath.Join(etc, "snapshot-controller.yaml")
	text, err := os.ReadFile(deployment)
	if err != nil {
		return fmt.Errorf("lay out the snapshot controller: %w", err)
	}
	named := strings.ReplaceAll(string(text), "SNAPSHOTTER_VERSION", b.versions[snapshotterModule])
	return errors.Join(os.Remove(deployment), os.WriteFile(filepath.Join(to, filepath.Base(deployment)), []byte(named), 0o644))
}

// controlPlane are the programs that run on this computer, not in the machine.
var controlPlane = []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"}

// keep leaves on this computer what is needed there.
func (b *clusterBuilder) keep(packages string) error {
	to := Cluster{b.dir}.programs()
	faults := []error{os.MkdirAll(to, 0o755)}
	for _, name := range slices.Concat(controlPlane, []string{"kubectl", "helm"}) {
		from := b.kubernetes
		switch name {
		case "helm":
			from = b.addons
		case "etcd":
			from = filepath.Join(packages, "usr/bin")
		}
		faults = append(faults, copyFile(filepath.Join(from, name), filepath.Join(to, name)))
	}
	return errors.Join(faults...)
}

func (b *clusterBuilder) makeDisk(ctx context.Context, tree, log string) error {
	args := append([]string{"-q", "-F", "-L", "cluster", "-m", "0", "-O", "^has_journal", "-d", tree}, Cluster{b.dir}.disk(), clusterDiskSize)
	return tool(ctx, log, exec.CommandContext(ctx, "mkfs.ext4", args...))
}
