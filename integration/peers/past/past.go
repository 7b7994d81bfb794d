// Package past builds hbmfs as it was at an earlier commit of this repository, for
// `make bench` to measure beside.
//
// It owns bin/before, where the programs stay for the next run. It changes nothing
// else of the repository, and holds no lock.
package past

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Default is the commit that rows beside "before" are judged by: the last one
// without anything for loaders.
const Default = "d18cad1"

// ErrNoCommit says that there is no such commit here, or no repository.
var ErrNoCommit = errors.New("no such commit")

// Program is the path of hbmfs as of a commit. Where it has to be built, say is told,
// and scratch, a directory, holds the tree meanwhile.
func Program(ctx context.Context, revision, scratch string, say func(string)) (string, error) {
	top, err := git(ctx, "rev-parse", "--show-toplevel")
	if err != nil {
		return "", err
	}
	commit, err := git(ctx, "rev-parse", "--verify", revision+"^{commit}")
	if err != nil {
		return "", err
	}
	dir := filepath.Join(top, "bin", "before", commit)
	program := filepath.Join(dir, "hbmfs")
	if _, err := os.Stat(program); err == nil {
		return program, nil
	}
	say("building hbmfs as of " + revision)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	return program, build(ctx, top, commit, scratch, program)
}

// build builds hbmfs of a commit. The program is there once it is whole.
func build(ctx context.Context, top, commit, scratch, program string) (err error) {
	tree, err := os.MkdirTemp(scratch, "before-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tree)) }()
	archive, part := filepath.Join(tree, "archive.tar"), program+".part"
	for _, cmd := range [][]string{
		{"git", "-C", top, "archive", "--output", archive, commit},
		{"tar", "-xf", archive, "-C", tree},
		{"go", "build", "-C", tree, "-o", part, "./cmd/hbmfs"},
	} {
		if _, err := output(ctx, cmd[0], cmd[1:]...); err != nil {
			return err
		}
	}
	return os.Rename(part, program)
}

// git asks git, which may not have what is asked for.
func git(ctx context.Context, args ...string) (string, error) {
	out, err := output(ctx, "git", args...)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrNoCommit, err)
	}
	return strings.TrimSpace(out), nil
}

func output(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, bytes.TrimSpace(errs.Bytes()))
	}
	return string(out), nil
}
