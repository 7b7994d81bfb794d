package main

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
)

// goTree is the root of Go's own source tree.
func goTree(ctx context.Context) (string, error) {
	out, _, err := timed(ctx, "go", "env", "GOROOT")
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(strings.TrimSpace(string(out)))
}

// walkTree brings the metadata of a tree into memory and returns how many lines
// find prints for it.
func walkTree(root string) (entries int, err error) {
	err = filepath.WalkDir(root, func(_ string, d fs.DirEntry, err error) error {
		entries++
		if err != nil {
			return err
		}
		_, err = d.Info()
		return err
	})
	return entries, err
}

// listTree measures find -ls over a tree of so many entries, in seconds.
func listTree(entries int) func(context.Context, string) (float64, error) {
	return func(ctx context.Context, root string) (float64, error) {
		out, d, err := timed(ctx, "find", root, "-ls")
		if lines := bytes.Count(out, []byte{'\n'}); err == nil && lines != entries {
			err = fmt.Errorf("find %s -ls listed %d entries, not %d", root, lines, entries)
		}
		return d.Seconds(), err
	}
}
