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

// countEntries is how many lines find prints for a tree.
func countEntries(root string) (n int, err error) {
	err = filepath.WalkDir(root, func(_ string, _ fs.DirEntry, err error) error {
		n++
		return err
	})
	return n, err
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
