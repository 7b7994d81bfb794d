package main

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
)

// file is a regular file of the tree, by its path below the top.
type file struct {
	name string
	size int64
}

// tree is the sizes of the regular files below a directory.
type tree map[string]int64

// listTree reads a tree from disk.
func listTree(dir string) (tree, error) {
	t := tree{}
	err := walkFiles(dir, func(name string, d fs.DirEntry) error {
		info, err := d.Info()
		if err == nil {
			t[name] = info.Size()
		}
		return err
	})
	return t, err
}

func (t tree) bytes() (sum int64) {
	for _, size := range t {
		sum += size
	}
	return sum
}

// visit walks the mount at place, which must show the files of t and no other.
func (t tree) visit(ctx context.Context, place string, each func(file)) error {
	missing := maps.Clone(t)
	err := walkFiles(place, func(name string, _ fs.DirEntry) error {
		size, known := t[name]
		if !known {
			return fmt.Errorf("%s is not in the original", name)
		}
		delete(missing, name)
		each(file{name, size})
		return ctx.Err()
	})
	if err == nil && len(missing) > 0 {
		err = fmt.Errorf("%s is missing", slices.Min(slices.Collect(maps.Keys(missing))))
	}
	if err != nil {
		return fmt.Errorf("walk the mount: %w", err)
	}
	return nil
}

// walkFiles visits the regular files below dir, by their path below it.
func walkFiles(dir string, each func(name string, d fs.DirEntry) error) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		return each(name, d)
	})
}
