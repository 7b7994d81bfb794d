package kernel

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
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
	files, err := readSources(sources)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "modules", name+"-"+hashFiles(files, k.Version))
	file := filepath.Join(dir, name+".ko")
	if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
		return file, err
	}
	if err := build(ctx, k, name, files, dir); err != nil {
		return "", fmt.Errorf("build the kernel module %s: %w", name, err)
	}
	return file, nil
}

// readSources reads what a module is built from, by name; what a build left beside it
// is none.
func readSources(dir string) (map[string][]byte, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	for _, e := range entries {
		name := e.Name()
		source := strings.HasSuffix(name, ".c") || strings.HasSuffix(name, ".h") || name == "Kbuild"
		if !source || strings.HasSuffix(name, ".mod.c") {
			continue
		}
		if files[name], err = os.ReadFile(filepath.Join(dir, name)); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// hashFiles hashes source files, their names, and what they are built for.
func hashFiles(files map[string][]byte, version string) string {
	h := sha256.New()
	fmt.Fprintf(h, "%q", version)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		fmt.Fprintf(h, "%q %q", name, files[name])
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// build builds a module in a copy of its sources and leaves it, alone, in dir.
func build(ctx context.Context, k Kernel, name string, sources map[string][]byte, dir string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	at := filepath.Dir(dir)
	if k.Root != "" {
		at = k.Root
	}
	work, err := os.MkdirTemp(at, "build-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	for file, text := range sources {
		if err := os.WriteFile(filepath.Join(work, file), text, 0o644); err != nil {
			return err
		}
	}
	argv := makeModule(k, work)
	if _, err = output(ctx, "", argv[0], argv[1:]...); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return os.Rename(filepath.Join(work, name+".ko"), filepath.Join(dir, name+".ko"))
}

// makeModule builds a module where it is, with the kernel's own compiler if it came
// with one.
func makeModule(k Kernel, work string) []string {
	var argv []string
	if k.Root != "" {
		argv = inRoot(k.Root)
		k.Headers, work = strings.TrimPrefix(k.Headers, k.Root), strings.TrimPrefix(work, k.Root)
	}
	// Without vmlinux's type information modules have none.
	return append(argv, "make", "-s", "-C", k.Headers, "M="+work, "CONFIG_DEBUG_INFO_BTF_MODULES=", "modules")
}
