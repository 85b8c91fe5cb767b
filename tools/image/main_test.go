package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
)

// small is a recipe of files that are small.
func small(t *testing.T) recipe {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"netfate-linux-amd64", "netfate-linux-arm64", "third-party-amd64", "third-party-arm64", "LICENSE"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("this is "+name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return recipe{dir, filepath.Join(dir, "LICENSE"), "1.2.3", time.Unix(1_700_000_000, 0).UTC()}
}

func TestImage(t *testing.T) {
	r, dir := small(t), filepath.Join(t.TempDir(), "image")
	if err := run(r, dir); err != nil {
		t.Fatal(err)
	}
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(manifest.Manifests) != 2 {
		t.Fatalf("got %d images, want one for each architecture", len(manifest.Manifests))
	}
	for i, arch := range architectures() {
		d := manifest.Manifests[i]
		image, err := index.Image(d.Digest)
		if err != nil {
			t.Fatal(err)
		}
		config, err := image.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		if d.Platform.Architecture != arch || config.Architecture != arch || config.Config.Entrypoint[0] != "/usr/bin/netfate" {
			t.Errorf("got %+v with %+v, want %s", d.Platform, config, arch)
		}
		if got := program(t, image); got != "this is netfate-linux-"+arch {
			t.Errorf("%s: got %q", arch, got)
		}
	}
}

// program returns what the image has as /usr/bin/netfate, which has to be executable.
func program(t *testing.T, image v1.Image) string {
	t.Helper()
	layers, err := image.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("got %d layers, %v, want one", len(layers), err)
	}
	text, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer text.Close()
	whole, err := io.ReadAll(text)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasSuffix(whole, make([]byte, 1024)) {
		t.Error("the archive has no end, two blocks of zeros, and GNU tar refuses it")
	}
	for in := tar.NewReader(bytes.NewReader(whole)); ; {
		head, err := in.Next()
		if errors.Is(err, io.EOF) {
			t.Fatal("there is no program in it")
		}
		if err != nil {
			t.Fatal(err)
		}
		if head.Name == "usr/bin/netfate" && head.Mode == 0o755 {
			got, err := io.ReadAll(in)
			if err != nil {
				t.Fatal(err)
			}
			return string(got)
		}
	}
}

// TestSame holds that the same files give the same digests.
func TestSame(t *testing.T) {
	r, dir := small(t), t.TempDir()
	var indexes []string
	for _, name := range []string{"a", "b"} {
		if err := run(r, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(filepath.Join(dir, name, "index.json"))
		if err != nil {
			t.Fatal(err)
		}
		indexes = append(indexes, string(text))
	}
	if indexes[0] != indexes[1] {
		t.Errorf("got %s and %s", indexes[0], indexes[1])
	}
}

func TestMissing(t *testing.T) {
	r := small(t)
	r.release = t.TempDir()
	if err := run(r, t.TempDir()); err == nil {
		t.Error("got nil without programs, want an error")
	}
}
