// Command image writes netfate's container image, for all architectures of a release, as an OCI
// image layout: what packaging/Dockerfile describes, without a daemon. skopeo and crane push
// such a layout, podman and nerdctl run it.
//
//	image RELEASE LICENSE VERSION DIRECTORY
//
// RELEASE is the directory that `make release` fills. The same files give the same digests.
package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

func main() {
	if len(os.Args) != 5 {
		fmt.Fprintln(os.Stderr, "usage: image RELEASE LICENSE VERSION DIRECTORY")
		os.Exit(2)
	}
	if err := run(recipe{os.Args[1], os.Args[2], os.Args[3], created()}, os.Args[4]); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

// created is the time that the image says it is of.
func created() time.Time {
	seconds, _ := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64)
	return time.Unix(seconds, 0).UTC()
}

// recipe is what an image is made of.
type recipe struct {
	release, licence, version string
	created                   time.Time
}

// architectures are those of a release.
func architectures() []string { return []string{"amd64", "arm64"} }

func run(r recipe, dir string) error {
	index := v1.ImageIndex(mutate.IndexMediaType(empty.Index, types.OCIImageIndex))
	for _, arch := range architectures() {
		image, err := r.image(arch)
		if err != nil {
			return fmt.Errorf("%s: %w", arch, err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add: image,
			Descriptor: v1.Descriptor{
				Platform:    &v1.Platform{OS: "linux", Architecture: arch},
				Annotations: map[string]string{"org.opencontainers.image.ref.name": r.version},
			},
		})
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	written, err := layout.Write(dir, index)
	if err != nil {
		return err
	}
	// What was written is read once more and held against its digests.
	read, err := written.ImageIndex()
	if err != nil {
		return err
	}
	return validate.Index(read)
}

// image is that of one architecture: one layer.
func (r recipe) image(arch string) (v1.Image, error) {
	files, err := r.files(arch)
	if err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(files)), nil },
		tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, err
	}
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err = mutate.Append(image, mutate.Addendum{
		Layer:     layer,
		MediaType: types.OCILayer,
		History:   v1.History{Created: v1.Time{Time: r.created}, CreatedBy: "make image"},
	})
	if err != nil {
		return nil, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.Architecture, config.OS, config.Created = arch, "linux", v1.Time{Time: r.created}
	config.Config = v1.Config{
		Entrypoint: []string{"/usr/bin/netfate"},
		Env:        []string{"PATH=/usr/bin"},
		Labels: map[string]string{
			"org.opencontainers.image.title":    "netfate",
			"org.opencontainers.image.version":  r.version,
			"org.opencontainers.image.source":   "https://github.com/netfate/netfate",
			"org.opencontainers.image.licenses": "Apache-2.0",
		},
	}
	return mutate.ConfigFile(image, config)
}

// files is the layer's archive: the program, and the licences that come with every copy.
func (r recipe) files(arch string) ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, dir := range []string{"usr/", "usr/bin/", "usr/share/", "usr/share/doc/", "usr/share/doc/netfate/"} {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755, ModTime: r.created}); err != nil {
			return nil, err
		}
	}
	for _, f := range []struct {
		from, name string
		mode       int64
	}{
		{filepath.Join(r.release, "netfate-linux-"+arch), "usr/bin/netfate", 0o755},
		{r.licence, "usr/share/doc/netfate/LICENSE", 0o644},
		{filepath.Join(r.release, "third-party-"+arch), "usr/share/doc/netfate/third-party", 0o644},
	} {
		text, err := os.ReadFile(f.from)
		if err != nil {
			return nil, err
		}
		err = w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: f.name, Mode: f.mode, Size: int64(len(text)), ModTime: r.created})
		if _, bad := w.Write(text); errors.Join(err, bad) != nil {
			return nil, errors.Join(err, bad)
		}
	}
	if err := w.Close(); err != nil { // it writes the archive's end
		return nil, err
	}
	return out.Bytes(), nil
}
