// Command image packs files into a container image and pushes images, without
// a container engine.
//
//	image pack --out FILE.tar --tag NAME:TAG [--root DIR] [--file FROM=/TO]... [--entrypoint WORD]... [...]
//	image push FILE.tar REFERENCE
//	image unprotect SERVER
package main

import (
	"fmt"
	"os"
)

func main() {
	if len(os.Args) < 2 {
		usage()
	}
	var err error
	switch os.Args[1] {
	case "pack":
		err = pack(os.Args[2:])
	case "push":
		err = push(os.Args[2:])
	case "unprotect":
		if len(os.Args) != 3 {
			usage()
		}
		err = unprotect(os.Args[2])
	default:
		usage()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

func usage() {
	fmt.Fprintln(os.Stderr, `usage:
  image pack --out FILE.tar --tag NAME:TAG [--root DIR] [--file FROM=/TO]...
             [--entrypoint WORD]... [--cmd WORD]... [--env NAME=VALUE]...
             [--workdir DIR] [--volume DIR]... [--user USER] [--port PORT]...
  image push [--insecure] FILE.tar REFERENCE
  image unprotect SERVER`)
	os.Exit(2)
}
