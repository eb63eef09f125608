package main

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"
)

// loadVerb brings archives of container images into the current cluster.
func loadVerb(ctx context.Context, args []string) (int, error) {
	if len(args) == 0 {
		return 2, errors.New("load needs archives: load ARCHIVE…")
	}
	instance, err := current()
	if err != nil {
		return 1, err
	}
	for _, file := range args {
		if err := step(ctx, "load the images of "+file, nil, func(ctx context.Context) error { return instance.load(ctx, file) }); err != nil {
			return 1, err
		}
	}
	return 0, nil
}

// load brings the images of an archive into the cluster, without the layers that are there: the larger part
// of the driver's image is on the cluster's disk, and takes two minutes of emulation to send and unpack.
func (i *Instance) load(ctx context.Context, file string) error {
	archive, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("load images: %w", err)
	}
	defer archive.Close()
	listed, err := i.output(ctx, "ls /var/lib/containerd/"+blobsFolder+"/sha256")
	if err != nil {
		return fmt.Errorf("list the layers in the cluster: %w", err)
	}
	there := map[string]bool{}
	for _, name := range strings.Fields(listed) {
		there["sha256:"+name] = true
	}
	reader, writer := io.Pipe()
	cmd := i.ssh(ctx, []string{"-T"}, "ctr -n k8s.io images import -")
	cmd.Stdin = reader
	written := make(chan error, 1)
	go func() {
		err := writeLayout(writer, archive, there)
		writer.CloseWithError(err)
		written <- err
	}()
	err = tool(ctx, filepath.Join(i.dir, "ssh.log"), cmd)
	reader.CloseWithError(err)
	if err := errors.Join(<-written, err); err != nil {
		return fmt.Errorf("load the images of %s: %w", file, err)
	}
	return nil
}

// What an archive of docker save says of an image. Its layers are not compressed.
type savedImage struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// descriptor is that of the OCI's image specification; so are the names of the types.
type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

const (
	indexType    = "application/vnd.oci.image.index.v1+json"
	manifestType = "application/vnd.oci.image.manifest.v1+json"
	configType   = "application/vnd.oci.image.config.v1+json"
	layerType    = "application/vnd.oci.image.layer.v1.tar"
	nameKey      = "io.containerd.image.name"
)

// writeLayout writes the images of an archive of docker save as an archive of an OCI image layout, without the layers
// whose digests are in there: containerd takes an image whose layers it has.
func writeLayout(to io.Writer, archive io.ReadSeeker, there map[string]bool) error {
	var images []savedImage
	if err := readJSON(archive, "manifest.json", &images); err != nil {
		return err
	}
	out := tar.NewWriter(to)
	blobs := layoutBlobs{out: out, written: map[string]bool{}}
	index := []descriptor{}
	for _, image := range images {
		manifest, err := blobs.image(archive, image, there)
		if err != nil {
			return err
		}
		for _, tag := range image.RepoTags {
			manifest.Annotations = map[string]string{nameKey: fullName(tag)}
			index = append(index, manifest)
		}
	}
	for _, part := range []struct {
		name    string
		content any
	}{
		{"index.json", map[string]any{"schemaVersion": 2, "mediaType": indexType, "manifests": index}},
		{"oci-layout", map[string]string{"imageLayoutVersion": "1.0.0"}},
	} {
		text, err := json.Marshal(part.content)
		if err != nil {
			return fmt.Errorf("write %s: %w", part.name, err)
		}
		if err := writeFile(out, part.name, int64(len(text)), strings.NewReader(string(text))); err != nil {
			return err
		}
	}
	return out.Close()
}

// layoutBlobs writes the parts of images, each once.
type layoutBlobs struct {
	out     *tar.Writer
	written map[string]bool
}

// image writes the parts of an image that are not there, and returns its manifest's descriptor.
func (b layoutBlobs) image(archive io.ReadSeeker, image savedImage, there map[string]bool) (descriptor, error) {
	var config json.RawMessage
	if err := readJSON(archive, image.Config, &config); err != nil {
		return descriptor{}, err
	}
	var content struct {
		RootFS struct {
			DiffIDs []string `json:"diff_ids"`
		} `json:"rootfs"`
	}
	if err := json.Unmarshal(config, &content); err != nil {
		return descriptor{}, fmt.Errorf("read %s: %w", image.Config, err)
	}
	if len(content.RootFS.DiffIDs) != len(image.Layers) {
		return descriptor{}, fmt.Errorf("%s names %d layers, the archive %d", image.Config, len(content.RootFS.DiffIDs), len(image.Layers))
	}
	layers := []descriptor{}
	for n, name := range image.Layers {
		layer, size, err := findFile(archive, name)
		if err != nil {
			return descriptor{}, err
		}
		digest := content.RootFS.DiffIDs[n]
		if !there[digest] {
			if err := b.write(digest, size, layer); err != nil {
				return descriptor{}, err
			}
		}
		layers = append(layers, descriptor{MediaType: layerType, Digest: digest, Size: size})
	}
	configAt, err := b.text(configType, config)
	if err != nil {
		return descriptor{}, err
	}
	manifest, err := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": manifestType, "config": configAt, "layers": layers})
	if err != nil {
		return descriptor{}, fmt.Errorf("write a manifest: %w", err)
	}
	return b.text(manifestType, manifest)
}

func (b layoutBlobs) text(mediaType string, text []byte) (descriptor, error) {
	digest := fmt.Sprintf("sha256:%x", sha256.Sum256(text))
	size := int64(len(text))
	return descriptor{MediaType: mediaType, Digest: digest, Size: size}, b.write(digest, size, strings.NewReader(string(text)))
}

func (b layoutBlobs) write(digest string, size int64, content io.Reader) error {
	algorithm, sum, _ := strings.Cut(digest, ":")
	if b.written[digest] {
		return nil
	}
	b.written[digest] = true
	return writeFile(b.out, path.Join("blobs", algorithm, sum), size, content)
}

func writeFile(out *tar.Writer, name string, size int64, content io.Reader) error {
	err := out.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: size, ModTime: time.Unix(0, 0)})
	if err == nil {
		_, err = io.Copy(out, content)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// findFile returns the content of a file of an archive, which is read until another is looked for, and its size in bytes.
func findFile(archive io.ReadSeeker, name string) (io.Reader, int64, error) {
	if _, err := archive.Seek(0, io.SeekStart); err != nil {
		return nil, 0, fmt.Errorf("read the archive: %w", err)
	}
	in := tar.NewReader(archive)
	for {
		header, err := in.Next()
		if err != nil {
			return nil, 0, fmt.Errorf("look for %s in the archive: %w", name, err)
		}
		if header.Typeflag == tar.TypeReg && path.Clean(header.Name) == name {
			return in, header.Size, nil
		}
	}
}

func readJSON(archive io.ReadSeeker, name string, into any) error {
	in, _, err := findFile(archive, name)
	if err != nil {
		return err
	}
	if err := json.NewDecoder(in).Decode(into); err != nil {
		return fmt.Errorf("read %s of the archive: %w", name, err)
	}
	return nil
}

// fullName is a name with the registry that is meant where none is said.
func fullName(name string) string {
	first, _, several := strings.Cut(name, "/")
	switch {
	case !several:
		return "docker.io/library/" + name
	case first == "localhost" || strings.ContainsAny(first, ".:"):
		return name
	}
	return "docker.io/" + name
}
