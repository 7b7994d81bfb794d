package main

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os/exec"
	"path/filepath"
	"strings"
)

// goTree is the root of Go's own source tree.
func goTree(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOROOT: %w", err)
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
		var lines lineCounter
		d, err := timed(ctx, &lines, "find", root, "-ls")
		if err == nil && int(lines) != entries {
			err = fmt.Errorf("find %s -ls listed %d entries, not %d", root, lines, entries)
		}
		return d.Seconds(), err
	}
}

// lineCounter counts the lines written to it.
type lineCounter int

func (c *lineCounter) Write(p []byte) (int, error) {
	*c += lineCounter(bytes.Count(p, []byte{'\n'}))
	return len(p), nil
}
