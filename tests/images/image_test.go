package main

import (
	"archive/tar"
	"errors"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// entries lists what an image's layer has: name, type, mode and link.
func entries(t *testing.T, image v1.Image) map[string]tar.Header {
	t.Helper()
	layers, err := image.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("layers: %v, %v", layers, err)
	}
	content, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer content.Close()
	result := map[string]tar.Header{}
	for reader := tar.NewReader(content); ; {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return result
		}
		if err != nil {
			t.Fatal(err)
		}
		result[header.Name] = *header
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestPackTree(t *testing.T) {
	dir := t.TempDir()
	root, out := filepath.Join(dir, "root"), filepath.Join(dir, "out.tar")
	write(t, filepath.Join(root, "etc/conf"), "content")
	if err := os.Link(filepath.Join(root, "etc/conf"), filepath.Join(root, "etc/same")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("conf", filepath.Join(root, "etc/link")); err != nil {
		t.Fatal(err)
	}
	err := pack([]string{"--out", out, "--tag", "example.com/tree:1", "--root", root,
		"--entrypoint", "/run", "--cmd", "a", "--cmd", "b", "--env", "A=b", "--workdir", "/data",
		"--volume", "/data", "--user", "999", "--port", "6379/tcp"})
	if err != nil {
		t.Fatal(err)
	}
	image, err := tarball.ImageFromPath(out, nil)
	if err != nil {
		t.Fatal(err)
	}
	file, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	want := v1.Config{
		Entrypoint: []string{"/run"}, Cmd: []string{"a", "b"}, Env: []string{"A=b"}, WorkingDir: "/data", User: "999",
		Volumes: map[string]struct{}{"/data": {}}, ExposedPorts: map[string]struct{}{"6379/tcp": {}},
	}
	if !reflect.DeepEqual(file.Config, want) {
		t.Errorf("config %+v, want %+v", file.Config, want)
	}
	have := entries(t, image)
	if got := have["etc/conf"]; got.Typeflag != tar.TypeReg || got.Mode != 0o644 || got.Size != 7 {
		t.Errorf("file: %+v", got)
	}
	if got := have["etc/same"]; got.Typeflag != tar.TypeLink || got.Linkname != "etc/conf" {
		t.Errorf("hard link: %+v", got)
	}
	if got := have["etc/link"]; got.Typeflag != tar.TypeSymlink || got.Linkname != "conf" {
		t.Errorf("symbolic link: %+v", got)
	}
}

func TestPackFilesAndPush(t *testing.T) {
	dir := t.TempDir()
	program, out := filepath.Join(dir, "program"), filepath.Join(dir, "out.tar")
	write(t, program, "program")
	pack1 := func() []byte {
		if err := pack([]string{"--out", out, "--tag", "example.com/files:1", "--file", program + "=/opt/bin/program"}); err != nil {
			t.Fatal(err)
		}
		content, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		return content
	}
	if string(pack1()) != string(pack1()) {
		t.Error("the same files gave two images")
	}

	server := httptest.NewServer(registry.New())
	defer server.Close()
	target := strings.TrimPrefix(server.URL, "http://") + "/files:1"
	if err := push([]string{out, target}); err != nil {
		t.Fatal(err)
	}
	reference, err := name.ParseReference(target)
	if err != nil {
		t.Fatal(err)
	}
	image, err := remote.Image(reference)
	if err != nil {
		t.Fatal(err)
	}
	have := entries(t, image)
	if got := have["opt/bin/program"]; got.Mode != 0o755 || got.Uid != 0 {
		t.Errorf("file: %+v", got)
	}
	if got := have["opt/bin/"]; got.Typeflag != tar.TypeDir || got.Mode != 0o755 {
		t.Errorf("directory: %+v", got)
	}
}

func TestPackRefuses(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out.tar")
	for _, args := range [][]string{
		{"--out", out, "--tag", "a:1"},
		{"--out", out, "--tag", "A B", "--file", "x=/y"},
		{"--out", out, "--tag", "a:1", "--file", "/etc/passwd"},
		{"--out", out, "--tag", "a:1", "--file", "/missing=/x"},
	} {
		if err := pack(args); err == nil {
			t.Errorf("pack %v: no error", args)
		}
	}
	if _, err := os.Stat(out); !os.IsNotExist(err) {
		t.Errorf("an image was written: %v", err)
	}
}
