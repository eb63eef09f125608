package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// ContainerImage is what e2e/cluster/addons/image makes an image of; see its Image.
type ContainerImage struct {
	Name       string
	Base       string            `json:",omitempty"`
	Files      map[string]string `json:",omitempty"`
	Links      map[string]string `json:",omitempty"`
	Entrypoint []string          `json:",omitempty"`
	Cmd        []string          `json:",omitempty"`
}

// imageRootArgs make the root that images with more than one program are on: as small as
// Debian gets, with the programs that the suite's scripts call.
var imageRootArgs = []string{
	"--mode=root", "--variant=essential", "--format=tar", "--aptopt=Acquire::Languages \"none\"",
	"--include=mount,iproute2,procps,psmisc",
	"--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/man/*",
	"--dpkgopt=path-exclude=/usr/share/info/*", "--dpkgopt=path-exclude=/usr/share/locale/*",
	"--dpkgopt=path-exclude=/usr/share/zoneinfo/*",
}

// images lists the container images of the cluster, under the names that Kubernetes, its
// tests and the sidecars' users know them by. packages is the folder with the unpacked
// packages, root the archive that imageRoot made.
func (b *clusterBuilder) images(packages, root string) []ContainerImage {
	const kubernetes, tests, storage = "registry.k8s.io/", "registry.k8s.io/e2e-test-images/", "registry.k8s.io/sig-storage/"
	all := []ContainerImage{
		{Name: kubernetes + "pause:3.10.2", Files: map[string]string{"/pause": filepath.Join(packages, "usr/bin/catatonit")}, Entrypoint: []string{"/pause", "-P"}},
		{Name: tests + "busybox:1.37.0-1", Files: map[string]string{"/bin/busybox": filepath.Join(packages, "usr/bin/busybox")}, Cmd: []string{"sh"}},
		{Name: tests + "agnhost:2.63.0", Base: root, Files: map[string]string{"/agnhost": filepath.Join(b.kubernetes, "agnhost")},
			Links: map[string]string{"/agnhost-2": "agnhost"}, Entrypoint: []string{"/agnhost"}, Cmd: []string{"pause"}},
		{Name: tests + "glibc-dns-testing:2.0.0", Base: root, Cmd: []string{"sh"}},
		{Name: tests + "nginx:1.15-4", Base: root, Cmd: []string{"sleep", "infinity"}},
	}
	for _, sidecar := range []struct{ program, tools, module string }{
		{"csi-provisioner", b.provisioner, provisionerModule}, {"csi-snapshotter", b.addons, snapshotterModule},
		{"snapshot-controller", b.addons, snapshotterModule}, {"csi-resizer", b.addons, resizerModule},
	} {
		all = append(all, ContainerImage{Name: storage + sidecar.program + ":" + b.versions[sidecar.module],
			Files: map[string]string{"/" + sidecar.program: filepath.Join(sidecar.tools, sidecar.program)}, Entrypoint: []string{"/" + sidecar.program}})
	}
	return all
}

// unpack fetches the cluster's packages and unpacks them into dir, without installing them.
func (b *clusterBuilder) unpack(ctx context.Context, dir, log string) error {
	host, err := findHost(ctx)
	if err != nil {
		return err
	}
	archives, err := host.fetch(ctx, clusterSuite, log, clusterPackages)
	if err != nil {
		return err
	}
	defer os.RemoveAll(archives)
	files, err := filepath.Glob(filepath.Join(archives, "*.deb"))
	if err != nil {
		return err
	}
	for _, file := range files {
		if err := tool(ctx, log, exec.CommandContext(ctx, "dpkg-deb", "--extract", file, dir)); err != nil {
			return err
		}
	}
	return nil
}

// imageRoot makes an archive of a small Debian.
func (b *clusterBuilder) imageRoot(ctx context.Context, archive, log string) error {
	host, err := findHost(ctx)
	if err != nil {
		return err
	}
	source := filepath.Join(b.dir, "debian.sources")
	if err := host.sources(source, clusterSuite); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "mmdebstrap", append(append([]string{}, imageRootArgs...), clusterSuite, archive, source)...)
	cmd.Env = append(plainEnvironment(), "TMPDIR="+b.dir)
	isolate(cmd)
	return tool(ctx, log, cmd)
}

// writeImages makes one archive of all images.
func (b *clusterBuilder) writeImages(ctx context.Context, archive, packages, root, log string) error {
	images := b.images(packages, root)
	applets, err := capture(ctx, filepath.Join(packages, "usr/bin/busybox"), "--list")
	if err != nil {
		return err
	}
	for i := range images {
		if !strings.Contains(images[i].Name, "/busybox:") {
			continue
		}
		images[i].Links = map[string]string{}
		for _, applet := range strings.Fields(applets) {
			if applet != "busybox" {
				images[i].Links["/bin/"+applet] = "busybox"
			}
		}
	}
	list, err := json.Marshal(images)
	if err != nil {
		return fmt.Errorf("list the images: %w", err)
	}
	cmd := exec.CommandContext(ctx, filepath.Join(b.addons, "image"), archive)
	cmd.Stdin = bytes.NewReader(list)
	return tool(ctx, log, cmd)
}
