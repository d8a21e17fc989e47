package main

import (
	"flag"
	"fmt"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// push uploads a packed image with the credentials that `docker login` or its
// like has stored for the user.
func push(args []string) error {
	flags := flag.NewFlagSet("push", flag.ExitOnError)
	insecure := flags.Bool("insecure", false, "speak plain HTTP to the registry if need be")
	_ = flags.Parse(args)
	if flags.NArg() != 2 {
		usage()
	}
	image, err := tarball.ImageFromPath(flags.Arg(0), nil)
	if err != nil {
		return fmt.Errorf("reading %s: %w", flags.Arg(0), err)
	}
	var options []name.Option
	if *insecure {
		options = append(options, name.Insecure)
	}
	reference, err := name.ParseReference(flags.Arg(1), options...)
	if err != nil {
		return err
	}
	if err := remote.Write(reference, image, remote.WithAuthFromKeychain(authn.DefaultKeychain)); err != nil {
		return fmt.Errorf("pushing to %s: %w", reference, err)
	}
	digest, err := image.Digest()
	if err != nil {
		return err
	}
	fmt.Printf("%s@%s\n", reference.Context().Name(), digest)
	return nil
}
