package main

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
)

// file is a regular file of the tree, by its path below the top.
type file struct {
	name string
	size int64
}

// listFiles returns the regular files below dir, sorted by name.
func listFiles(dir string) ([]file, error) {
	var files []file
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		files = append(files, file{name, info.Size()})
		return err
	})
	return files, err
}

// listBoth lists the mount and the original, which must have the same files.
func listBoth(place, src string) ([]file, error) {
	shown, err := listFiles(place)
	if err != nil {
		return nil, fmt.Errorf("walk the mount: %w", err)
	}
	original, err := listFiles(src)
	if err != nil {
		return nil, fmt.Errorf("walk the original: %w", err)
	}
	if !slices.Equal(shown, original) {
		return nil, fmt.Errorf("the mount shows other files than the original has: %w", firstDifference(shown, original))
	}
	if len(shown) == 0 {
		return nil, errors.New("there is no file to check; choose another tree with SRC=dir")
	}
	return shown, nil
}

func firstDifference(shown, original []file) error {
	for i, f := range original {
		if i >= len(shown) {
			return fmt.Errorf("%s is missing", f)
		}
		if shown[i] != f {
			return fmt.Errorf("where the original has %s, the mount has %s", f, shown[i])
		}
	}
	return fmt.Errorf("%s is not in the original", shown[len(original)])
}

func (f file) String() string { return fmt.Sprintf("%s (%d bytes)", f.name, f.size) }
