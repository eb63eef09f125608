// Image makes container images out of files, with no registry and no daemon, and
// writes them into one archive that docker load and ctr images import take:
//
//	image ARCHIVE <images.json
//
// The input is a list of [Image].
package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// Image says what one image is made of.
type Image struct {
	Name       string            // with its registry and tag
	Base       string            // a tar archive of a whole root, "" for none
	Files      map[string]string // path in the image to the file on this computer, taken over with its mode
	Links      map[string]string // path in the image to what the symbolic link there says
	Entrypoint []string
	Cmd        []string
}

func main() {
	if err := run(os.Args[1:], os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

func run(args []string, in io.Reader) error {
	if len(args) != 1 {
		return errors.New("one argument is needed: the archive to write")
	}
	decoder := json.NewDecoder(in)
	decoder.DisallowUnknownFields()
	var wanted []Image
	if err := decoder.Decode(&wanted); err != nil {
		return fmt.Errorf("read the list of images: %w", err)
	}
	images := map[name.Reference]v1.Image{}
	for _, one := range wanted {
		reference, err := name.ParseReference(one.Name, name.StrictValidation)
		if err != nil {
			return err
		}
		if images[reference], err = one.build(); err != nil {
			return fmt.Errorf("make %s: %w", one.Name, err)
		}
	}
	return tarball.MultiRefWriteToFile(args[0], images)
}

func (i Image) build() (v1.Image, error) {
	image := v1.Image(empty.Image)
	if i.Base != "" {
		layer, err := tarball.LayerFromFile(i.Base)
		if err != nil {
			return nil, err
		}
		if image, err = mutate.AppendLayers(image, layer); err != nil {
			return nil, err
		}
	}
	if len(i.Files)+len(i.Links) > 0 {
		data, err := i.archive()
		if err != nil {
			return nil, err
		}
		layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil })
		if err != nil {
			return nil, err
		}
		if image, err = mutate.AppendLayers(image, layer); err != nil {
			return nil, err
		}
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", "amd64"
	config.Config.Entrypoint, config.Config.Cmd = i.Entrypoint, i.Cmd
	config.Config.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	return mutate.ConfigFile(image, config)
}

// archive holds the image's files and links; their order and times are always the same.
func (i Image) archive() ([]byte, error) {
	var data bytes.Buffer
	out := tar.NewWriter(&data)
	paths := make([]string, 0, len(i.Files)+len(i.Links))
	for at := range i.Files {
		paths = append(paths, at)
	}
	for at := range i.Links {
		paths = append(paths, at)
	}
	slices.Sort(paths)
	made := map[string]bool{"/": true}
	for _, at := range paths {
		if err := folders(out, made, path.Dir(at)); err != nil {
			return nil, err
		}
		header := &tar.Header{Name: at[1:], Typeflag: tar.TypeSymlink, Linkname: i.Links[at], Mode: 0o777, ModTime: time.Unix(0, 0)}
		var content []byte
		if from, ok := i.Files[at]; ok {
			info, err := os.Stat(from)
			if err != nil {
				return nil, err
			}
			if content, err = os.ReadFile(from); err != nil {
				return nil, err
			}
			header.Typeflag, header.Linkname, header.Mode, header.Size = tar.TypeReg, "", int64(info.Mode().Perm()), int64(len(content))
		}
		if err := out.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := out.Write(content); err != nil {
			return nil, err
		}
	}
	return data.Bytes(), out.Close()
}

// folders adds a folder and those it lies in, as far as they are not in made.
func folders(out *tar.Writer, made map[string]bool, dir string) error {
	if made[dir] {
		return nil
	}
	if err := folders(out, made, path.Dir(dir)); err != nil {
		return err
	}
	made[dir] = true
	mode := int64(0o755)
	if path.Base(dir) == "tmp" {
		mode = 0o1777
	}
	return out.WriteHeader(&tar.Header{Name: dir[1:] + "/", Typeflag: tar.TypeDir, Mode: mode, ModTime: time.Unix(0, 0)})
}
