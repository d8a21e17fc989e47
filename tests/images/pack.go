package main

import (
	"compress/gzip"
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// words is a flag that can be given many times.
type words []string

func (w *words) String() string { return strings.Join(*w, " ") }

func (w *words) Set(word string) error {
	*w = append(*w, word)
	return nil
}

// pack writes a docker-archive with one layer.
func pack(args []string) error {
	var files, entrypoint, cmd, env, volumes, ports words
	flags := flag.NewFlagSet("pack", flag.ExitOnError)
	out := flags.String("out", "", "the archive to write")
	tag := flags.String("tag", "", "the image's name:tag")
	root := flags.String("root", "", "a directory that becomes the image's root, with its owners and modes")
	workdir := flags.String("workdir", "", "the working directory")
	user := flags.String("user", "", "the user")
	flags.Var(&files, "file", "FROM=/TO: one file, owned by root, readable and runnable by all")
	flags.Var(&entrypoint, "entrypoint", "a word of the entrypoint")
	flags.Var(&cmd, "cmd", "a word of the default arguments")
	flags.Var(&env, "env", "NAME=VALUE")
	flags.Var(&volumes, "volume", "a directory that is a volume")
	flags.Var(&ports, "port", "a port it listens on, such as 6379/tcp")
	_ = flags.Parse(args)
	if *out == "" || *tag == "" || flags.NArg() != 0 {
		usage()
	}
	if *root == "" && len(files) == 0 {
		return errors.New("nothing to pack: give --root or --file")
	}
	reference, err := name.NewTag(*tag)
	if err != nil {
		return err
	}

	layerTar, err := os.CreateTemp("", "layer")
	if err != nil {
		return err
	}
	defer os.Remove(layerTar.Name())
	defer layerTar.Close()
	if err := writeLayer(layerTar, *root, files); err != nil {
		return err
	}
	if err := layerTar.Close(); err != nil {
		return err
	}
	// The archives are loaded from the same disk: speed counts, size does not.
	layer, err := tarball.LayerFromFile(layerTar.Name(), tarball.WithCompressionLevel(gzip.BestSpeed))
	if err != nil {
		return err
	}
	image, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return err
	}
	image, err = mutate.ConfigFile(image, configure(image, func(config *v1.Config) {
		config.Entrypoint = entrypoint
		config.Cmd = cmd
		config.Env = env
		config.WorkingDir = *workdir
		config.User = *user
		config.Volumes = set(volumes)
		config.ExposedPorts = set(ports)
	}))
	if err != nil {
		return err
	}
	// Written beside its place and then renamed, so that no reader ever meets
	// half an archive.
	half := *out + ".half"
	if err := tarball.WriteToFile(half, reference, image); err != nil {
		return err
	}
	return os.Rename(half, *out)
}

func configure(image v1.Image, change func(*v1.Config)) *v1.ConfigFile {
	file, err := image.ConfigFile()
	if err != nil {
		// Only an image read from elsewhere can fail here; this one is built
		// from an empty one.
		panic(fmt.Sprintf("the config of a new image: %v", err))
	}
	file = file.DeepCopy()
	file.OS = "linux"
	file.Architecture = runtime.GOARCH
	change(&file.Config)
	return file
}

func set(members []string) map[string]struct{} {
	if len(members) == 0 {
		return nil
	}
	result := map[string]struct{}{}
	for _, member := range members {
		result[member] = struct{}{}
	}
	return result
}
