package main

import (
	"archive/tar"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// All times in an image are this one, so that the same files give the same
// image. It is not zero because some programs take zero for "no time".
var packedAt = time.Unix(1, 0)

// writeLayer writes the tree below root (if any) and then the single files.
func writeLayer(out io.Writer, root string, files []string) error {
	layer := tar.NewWriter(out)
	if root != "" {
		if err := addTree(layer, root); err != nil {
			return err
		}
	}
	made := map[string]bool{}
	for _, file := range files {
		from, to, ok := strings.Cut(file, "=")
		if !ok || !strings.HasPrefix(to, "/") {
			return fmt.Errorf("--file %q is not FROM=/TO", file)
		}
		// A tree brings its own directories, with their own modes.
		if root == "" {
			if err := addParents(layer, to, made); err != nil {
				return err
			}
		}
		if err := addFile(layer, from, to); err != nil {
			return err
		}
	}
	return layer.Close()
}

func addParents(layer *tar.Writer, file string, made map[string]bool) error {
	parent := path.Dir(path.Clean(file))
	if parent == "/" || made[parent] {
		return nil
	}
	if err := addParents(layer, parent, made); err != nil {
		return err
	}
	made[parent] = true
	return layer.WriteHeader(&tar.Header{
		Typeflag: tar.TypeDir,
		Name:     strings.TrimPrefix(parent, "/") + "/",
		Mode:     0o755,
		ModTime:  packedAt,
	})
}

func addFile(layer *tar.Writer, from, to string) error {
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a file", from)
	}
	err = layer.WriteHeader(&tar.Header{
		Typeflag: tar.TypeReg,
		Name:     strings.TrimPrefix(path.Clean(to), "/"),
		Size:     info.Size(),
		Mode:     0o755,
		ModTime:  packedAt,
	})
	if err != nil {
		return err
	}
	return copyFile(layer, from)
}

func copyFile(out io.Writer, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	_, err = io.Copy(out, in)
	return err
}

func addTree(layer *tar.Writer, root string) error {
	type inode struct{ device, number uint64 }
	first := map[inode]string{}
	return filepath.WalkDir(root, func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, file)
		if err != nil || name == "." {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		target := ""
		if info.Mode()&fs.ModeSymlink != 0 {
			if target, err = os.Readlink(file); err != nil {
				return err
			}
		}
		if info.Mode()&(fs.ModeSocket|fs.ModeDevice|fs.ModeNamedPipe) != 0 {
			// The container runtime makes /dev itself.
			return nil
		}
		header, err := tar.FileInfoHeader(info, target)
		if err != nil {
			return err
		}
		header.Name = name
		if info.IsDir() {
			header.Name += "/"
		}
		// Names belong to this machine's users; numbers are what counts.
		header.Uname, header.Gname = "", ""
		header.ModTime, header.AccessTime, header.ChangeTime = packedAt, time.Time{}, time.Time{}
		header.Format = tar.FormatPAX
		if stat, ok := info.Sys().(*syscall.Stat_t); ok && info.Mode().IsRegular() && stat.Nlink > 1 {
			id := inode{uint64(stat.Dev), stat.Ino}
			if other, seen := first[id]; seen {
				header.Typeflag, header.Linkname, header.Size = tar.TypeLink, other, 0
			} else {
				first[id] = name
			}
		}
		if err := layer.WriteHeader(header); err != nil {
			return err
		}
		if header.Typeflag != tar.TypeReg {
			return nil
		}
		return copyFile(layer, file)
	})
}
