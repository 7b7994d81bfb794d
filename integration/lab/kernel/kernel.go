// Package kernel gets a Debian kernel, its modules and its headers into a cache,
// by apt and without installing anything, and builds modules for it. It owns
// what lies below the cache's "apt", "kernel" and "modules" folders; the
// machine's own package state is only read.
//
// Locking: a file lock on the cache makes runs of several processes wait for
// each other.
package kernel

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// errPackage says that a kernel package is not made as expected.
var errPackage = errors.New("unexpected kernel package")

// Kernel is a kernel's extracted packages.
type Kernel struct {
	Version string
	// Image is what a machine boots.
	Image string
	// ModuleDir is its lib/modules/VERSION, with depmod's tables.
	ModuleDir string
	// Headers is what its modules are built with.
	Headers string
	// Root is where its compiler and the programs of its headers run; empty is
	// this machine.
	Root string
	// UAPI is the directory of the headers that programs see, as the kernel has
	// them.
	UAPI string
}

// Get returns the cached kernel of a release, such as "7.3", or gets the newest of
// that first. Without a release it is the one that the machine's own Debian, or its
// backports, has now.
func Get(ctx context.Context, cache, release string) (Kernel, error) {
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return Kernel{}, err
	}
	unlock, err := lock(filepath.Join(cache, "lock"))
	if err != nil {
		return Kernel{}, err
	}
	defer unlock()
	dir, get := filepath.Join(cache, "kernel"), download
	if release != "" {
		dir += "-" + release
		get = func(ctx context.Context, dir string) ([]string, error) { return downloadRelease(ctx, dir, release) }
	}
	if k, err := find(dir); err == nil {
		return k, nil
	} else if !errors.Is(err, os.ErrNotExist) {
		return Kernel{}, err
	}
	if err := fetch(ctx, filepath.Join(cache, "apt"), dir, get); err != nil {
		return Kernel{}, fmt.Errorf("get a Debian kernel: %w", err)
	}
	return find(dir)
}

// fetch downloads a kernel by apt's directory and extracts it as dir, whole or not
// at all. What a version of this program without headers left there goes.
func fetch(ctx context.Context, apt, dir string, get func(ctx context.Context, apt string) ([]string, error)) error {
	debs, err := get(ctx, apt)
	if err != nil {
		return err
	}
	partial := dir + ".partial"
	if err := os.RemoveAll(partial); err != nil {
		return err
	}
	if err := extract(ctx, debs, partial); err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.Rename(partial, dir); err != nil {
		return err
	}
	for _, deb := range debs {
		if err := os.Remove(deb); err != nil {
			return err
		}
	}
	return nil
}

// extract unpacks packages, the image first, and does what their installation
// would do: list the modules' needs, and let the headers find their other half.
func extract(ctx context.Context, debs []string, dir string) error {
	for _, deb := range debs {
		if _, err := output(ctx, "", "dpkg-deb", "-x", deb, dir); err != nil {
			return err
		}
	}
	if _, err := os.Lstat(filepath.Join(dir, "lib")); errors.Is(err, os.ErrNotExist) {
		if err := os.Symlink("usr/lib", filepath.Join(dir, "lib")); err != nil {
			return err
		}
	}
	k, err := find(dir)
	if err != nil {
		return err
	}
	if err := relocate(filepath.Join(k.Headers, "Makefile")); err != nil {
		return err
	}
	if err := furnish(k.Root); err != nil {
		return err
	}
	_, err = output(ctx, "", "depmod", "-b", dir, k.Version)
	return err
}

// find names the parts of a kernel. Its error wraps [os.ErrNotExist] if there is
// none, or one without headers.
func find(dir string) (Kernel, error) {
	if _, err := os.Stat(dir); err != nil {
		return Kernel{}, err
	}
	images, err := filepath.Glob(filepath.Join(dir, "boot", "vmlinuz-*"))
	if err != nil {
		return Kernel{}, err
	}
	inModules, err := filepath.Glob(filepath.Join(dir, "lib", "modules", "*", "vmlinuz")) // since 7.2
	if err != nil {
		return Kernel{}, err
	}
	images = append(images, inModules...)
	modules, err := filepath.Glob(filepath.Join(dir, "lib", "modules", "*"))
	if err != nil {
		return Kernel{}, err
	}
	if len(images) != 1 || len(modules) != 1 {
		return Kernel{}, fmt.Errorf("%w: %s holds %d images and %d sets of modules; remove it and run again",
			errPackage, dir, len(images), len(modules))
	}
	version := filepath.Base(modules[0])
	headers := filepath.Join(dir, "usr", "src", "linux-headers-"+version)
	if _, err := os.Stat(headers); err != nil {
		return Kernel{}, err
	}
	uapi, err := filepath.Glob(filepath.Join(dir, "usr", "src", "linux-headers-*-common", "include", "uapi"))
	if err != nil {
		return Kernel{}, err
	}
	if len(uapi) != 1 {
		return Kernel{}, fmt.Errorf("%w: %s holds %d sets of headers; remove it and run again", errPackage, dir, len(uapi))
	}
	k := Kernel{Version: version, Image: images[0], ModuleDir: modules[0], Headers: headers, UAPI: uapi[0]}
	if _, err := os.Lstat(filepath.Join(dir, shell)); err == nil {
		k.Root = dir
	}
	return k, nil
}

func lock(name string) (unlock func(), err error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", name, err), f.Close())
	}
	return func() { _ = f.Close() }, nil // closing unlocks
}
