package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// source is what a mount shows: datasets of a target, or a local path that a
// target inside the daemon serves.
type source struct {
	addr    string // host:port; empty for a local path
	dataset string // empty: all of the target's
	path    string // absolute; empty for a target
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
	abs, err := filepath.Abs(s)
	if err != nil {
		return source{}, err
	}
	if abs, err = filepath.EvalSymlinks(abs); err != nil {
		return source{}, fmt.Errorf("source %s: %w", s, err)
	}
	return source{path: abs}, nil
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
	if !s.local() || !within(s.path, mountpoint) {
		return nil
	}
	return usagef("source %s lies under the mount point %s, which would hide it; mount it elsewhere", s.path, mountpoint)
}

// within reports whether path is dir or lies below it. Both are absolute and clean.
func within(path, dir string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, "../")
}
