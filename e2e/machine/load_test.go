package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"testing"
)

func digestOf(text string) string { return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(text))) }

// savedArchive is an archive as docker save writes it, of one image with these layers.
func savedArchive(t *testing.T, tag string, layers ...string) *bytes.Reader {
	t.Helper()
	var data bytes.Buffer
	out := tar.NewWriter(&data)
	image := savedImage{Config: "config.json", RepoTags: []string{tag}}
	var diffs []string
	for n, layer := range layers {
		name := fmt.Sprintf("%d.tar", n)
		image.Layers = append(image.Layers, name)
		diffs = append(diffs, digestOf(layer))
		if err := writeFile(out, name, int64(len(layer)), bytes.NewReader([]byte(layer))); err != nil {
			t.Fatal(err)
		}
	}
	for name, content := range map[string]any{
		"config.json":   map[string]any{"os": "linux", "rootfs": map[string]any{"type": "layers", "diff_ids": diffs}},
		"manifest.json": []savedImage{image},
	} {
		text, err := json.Marshal(content)
		if err != nil {
			t.Fatal(err)
		}
		if err := writeFile(out, name, int64(len(text)), bytes.NewReader(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	return bytes.NewReader(data.Bytes())
}

func filesOf(t *testing.T, archive io.Reader) map[string]string {
	t.Helper()
	files := map[string]string{}
	for in := tar.NewReader(archive); ; {
		header, err := in.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(in)
		if err != nil {
			t.Fatal(err)
		}
		files[header.Name] = string(content)
	}
}

func TestLayoutLeavesOutLayers(t *testing.T) {
	var out bytes.Buffer
	if err := writeLayout(&out, savedArchive(t, "zfs-csi/zfs-csi:v1", "below", "driver"), map[string]bool{digestOf("below"): true}); err != nil {
		t.Fatal(err)
	}
	files := filesOf(t, &out)
	blob := func(digest string) string { return files["blobs/sha256/"+digest[len("sha256:"):]] }

	var index struct{ Manifests []descriptor }
	if err := json.Unmarshal([]byte(files["index.json"]), &index); err != nil {
		t.Fatal(err)
	}
	if len(index.Manifests) != 1 || index.Manifests[0].Annotations[nameKey] != "docker.io/zfs-csi/zfs-csi:v1" {
		t.Fatalf("the index names %+v", index.Manifests)
	}
	var manifest struct {
		Config descriptor
		Layers []descriptor
	}
	if err := json.Unmarshal([]byte(blob(index.Manifests[0].Digest)), &manifest); err != nil {
		t.Fatal(err)
	}
	want := []descriptor{
		{MediaType: layerType, Digest: digestOf("below"), Size: int64(len("below"))},
		{MediaType: layerType, Digest: digestOf("driver"), Size: int64(len("driver"))},
	}
	if !slices.EqualFunc(manifest.Layers, want, func(a, b descriptor) bool {
		return a.Digest == b.Digest && a.Size == b.Size && a.MediaType == b.MediaType
	}) {
		t.Errorf("the manifest names the layers %+v, not %+v", manifest.Layers, want)
	}
	if blob(digestOf("driver")) != "driver" {
		t.Error("a layer that is not there is left out")
	}
	if _, there := files["blobs/sha256/"+digestOf("below")[len("sha256:"):]]; there {
		t.Error("a layer that is there is sent")
	}
	if config := blob(manifest.Config.Digest); digestOf(config) != manifest.Config.Digest || int64(len(config)) != manifest.Config.Size {
		t.Errorf("the configuration is %q, not that of %+v", config, manifest.Config)
	}
	if len(files) != len([]string{"index.json", "oci-layout", "manifest", "config", "driver"}) {
		t.Errorf("the archive holds %v", slices.Sorted(maps.Keys(files)))
	}
}

func TestLayoutOfUnfinishedArchive(t *testing.T) {
	whole := savedArchive(t, "zfs-csi/zfs-csi:v1", "driver")
	cut := make([]byte, 512)
	if _, err := whole.Read(cut); err != nil {
		t.Fatal(err)
	}
	if err := writeLayout(io.Discard, bytes.NewReader(cut), nil); err == nil {
		t.Error("half an archive is taken for one")
	}
}

func TestFullName(t *testing.T) {
	for name, want := range map[string]string{
		"busybox":                 "docker.io/library/busybox",
		"zfs-csi/zfs-csi:v1":      "docker.io/zfs-csi/zfs-csi:v1",
		"localhost/zfs-csi:v1":    "localhost/zfs-csi:v1",
		"registry.example/a:b":    "registry.example/a:b",
		"localhost:5000/zfs-csi":  "localhost:5000/zfs-csi",
		"ghcr.io/zfs-csi/csi:v10": "ghcr.io/zfs-csi/csi:v10",
	} {
		if got := fullName(name); got != want {
			t.Errorf("%s is %s, not %s", name, got, want)
		}
	}
}
