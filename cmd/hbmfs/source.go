package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"hbmfs/cmd/hbmfs/internal/mounts"
)

// source is what a mount shows: datasets of a target, or a local path that a
// target inside the daemon serves.
type source struct {
	addr    string // host:port; empty for a local path
	dataset string // empty: all of the target's
	path    string // absolute, without symbolic links; empty for a target
	named   string // the path as it was given, made absolute
}

// parseSource reads HOST:PORT/NAME, HOST:PORT or a local path. What starts with
// "/" or ".", or exists, is a local path.
func parseSource(s string) (source, error) {
	if isLocal(s) {
		return localSource(s)
	}
	addr, name, _ := strings.Cut(s, "/")
	host, port, err := net.SplitHostPort(addr)
	if err != nil || host == "" || !validPort(port) {
		return source{}, usagef("source %q is neither HOST:PORT[/NAME], such as node7:7070/train, nor a path that exists; begin a path with / or ./", s)
	}
	return source{addr: net.JoinHostPort(host, port), dataset: name}, nil
}

func isLocal(s string) bool {
	if strings.HasPrefix(s, "/") || strings.HasPrefix(s, ".") {
		return true
	}
	_, err := os.Lstat(s)
	return s != "" && err == nil
}

func localSource(s string) (source, error) {
	named, err := withoutUp(s)
	if err != nil {
		return source{}, fmt.Errorf("source %s: %w", s, err)
	}
	path, err := filepath.EvalSymlinks(named)
	if err != nil {
		return source{}, fmt.Errorf("source %s: %w", s, err)
	}
	return source{path: path, named: named}, nil
}

// withoutUp makes path absolute and clean. Up to its last "..", symbolic links are
// resolved: behind one, ".." is where the link leads to, as for the kernel.
func withoutUp(path string) (string, error) {
	parts := strings.Split(path, "/")
	up := len(parts)
	for up > 0 && parts[up-1] != ".." {
		up--
	}
	rest := strings.Join(parts[up:], "/")
	if up == 0 {
		return filepath.Abs(rest)
	}
	head, err := mounts.Absolute(strings.Join(parts[:up], "/"))
	if err != nil {
		return "", err
	}
	head, err = filepath.EvalSymlinks(head)
	return filepath.Join(head, rest), err
}

func validPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0
}

// local reports whether the daemon serves the source itself.
func (s source) local() bool { return s.path != "" }

// String is what mount tables show.
func (s source) String() string {
	switch {
	case s.local():
		return s.path
	case s.dataset != "":
		return s.addr + "/" + s.dataset
	}
	return s.addr
}

// checkOutside refuses a local source that the mount would cover, since the
// daemon would then wait for itself.
func (s source) checkOutside(mountpoint string) error {
	if !s.local() || !mounts.Within(s.path, mountpoint) {
		return nil
	}
	return usagef("source %s lies under the mount point %s, which would hide it; mount it elsewhere", s.path, mountpoint)
}

// followed is the path that shows where a local source is from now on: a symbolic
// link may be switched, but not one that the mount covers.
func (s source) followed(mountpoint string) string {
	if mounts.Within(s.named, mountpoint) {
		return s.path
	}
	return s.named
}
