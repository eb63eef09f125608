package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Parts of the root folder of containerd that stay on the cluster's disk, and are only read there: the
// machine links to what they hold.
const (
	layersFolder = "io.containerd.snapshotter.v1.overlayfs/snapshots"
	blobsFolder  = "io.containerd.content.v1.content/blobs"
)

// unpackImages has containerd unpack archives of images, and lays out its root folder in tree:
// as "layers" and "blobs" the parts above, and the rest as "containerd".
func (b *clusterBuilder) unpackImages(ctx context.Context, tree, packages, log string, archives ...string) error {
	root := filepath.Join(tree, "containerd")
	args := append([]string{"-c", assetText("unpack.sh"), "unpack.sh", filepath.Join(packages, "usr/bin"), root}, archives...)
	cmd := exec.CommandContext(ctx, "sh", args...)
	cmd.Env = plainEnvironment()
	isolate(cmd)
	if err := tool(ctx, log, cmd); err != nil {
		return err
	}
	for from, to := range map[string]string{layersFolder: "layers", blobsFolder: "blobs"} {
		if err := os.Rename(filepath.Join(root, from), filepath.Join(tree, to)); err != nil {
			return fmt.Errorf("lay out the images: %w", err)
		}
	}
	return nil
}
