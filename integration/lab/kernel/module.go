package kernel

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// relocate makes the Makefile of headers find those that all flavours share,
// which lie beside them, also where they are not installed.
func relocate(makefile string) error {
	text, err := os.ReadFile(makefile)
	if err != nil {
		return err
	}
	return os.WriteFile(makefile, bytes.ReplaceAll(text, []byte("/usr/src/"), []byte("../")), 0o644)
}

// Module returns the module NAME.ko for k of the sources in a directory, from
// the cache if these sources were built before.
func Module(ctx context.Context, cache string, k Kernel, name, sources string) (string, error) {
	unlock, err := lock(filepath.Join(cache, "lock"))
	if err != nil {
		return "", err
	}
	defer unlock()
	sum, err := hashFiles(sources, k.Version)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "modules", name+"-"+sum)
	file := filepath.Join(dir, name+".ko")
	if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
		return file, err
	}
	if err := build(ctx, k, name, sources, dir); err != nil {
		return "", fmt.Errorf("build the kernel module %s: %w", name, err)
	}
	return file, nil
}

// hashFiles hashes a module's source files, their names, and what they are built for.
func hashFiles(dir, version string) (string, error) {
	files, err := sourceFiles(dir)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	fmt.Fprintf(h, "%q", version)
	for _, file := range files {
		text, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			return "", err
		}
		fmt.Fprintf(h, "%q %q", file, text)
	}
	return hex.EncodeToString(h.Sum(nil)[:8]), nil
}

// sourceFiles names what a module is built from; what a build left beside it is none.
func sourceFiles(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var files []string
	for _, e := range entries {
		name := e.Name()
		source := strings.HasSuffix(name, ".c") || strings.HasSuffix(name, ".h") || name == "Kbuild"
		if source && !strings.HasSuffix(name, ".mod.c") {
			files = append(files, name)
		}
	}
	return files, nil
}

// build builds a module in a copy of its sources and leaves it, alone, in dir.
func build(ctx context.Context, k Kernel, name, sources, dir string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	work, err := os.MkdirTemp(filepath.Dir(dir), "build-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	if err := copySources(work, sources); err != nil {
		return err
	}
	// Without vmlinux's type information modules have none.
	_, err = output(ctx, "", "make", "-s", "-C", k.Headers, "M="+work, "CONFIG_DEBUG_INFO_BTF_MODULES=", "modules")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return os.Rename(filepath.Join(work, name+".ko"), filepath.Join(dir, name+".ko"))
}

func copySources(to, from string) error {
	files, err := sourceFiles(from)
	if err != nil {
		return err
	}
	for _, file := range files {
		text, err := os.ReadFile(filepath.Join(from, file))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(to, file), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}
