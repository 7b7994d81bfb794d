package main

import (
	"context"
	"os"
	"path/filepath"
)

// startNBDKit serves the file by nbdkit's file plugin and returns its URI.
func (s *stage) startNBDKit(ctx context.Context) (string, error) {
	port, err := freePort()
	if err != nil {
		return "", err
	}
	pidFile := filepath.Join(s.scratch, "nbdkit-"+port)
	p, err := s.start("nbdkit", "--foreground", "--readonly", "--pidfile", pidFile,
		"--ipaddr", "127.0.0.1", "--port", port, "file", s.file())
	if err != nil {
		return "", err
	}
	return "nbd://127.0.0.1:" + port, p.Await(ctx, "its pid file", func() bool {
		_, err := os.Stat(pidFile)
		return err == nil
	})
}

// nbdcopy measures nbdcopy to nowhere, in bytes a second.
func (s *stage) nbdcopy(uri string) measure {
	return func(ctx context.Context) (float64, error) {
		_, d, err := timed(ctx, "nbdcopy", "--connections=4", uri, "null:")
		return float64(s.size) / d.Seconds(), err
	}
}

// nbdfuse mounts the file.
func (s *stage) nbdfuse(uri string) mounting {
	return func(ctx context.Context) (string, func() error, error) {
		m, err := s.mountNBDFuse(ctx, uri)
		return m.dir, m.unmount, err
	}
}

func (s *stage) mountNBDFuse(ctx context.Context, uri string) (served, error) {
	return s.mountBy(ctx, "nbdfuse", func(dir string) []string {
		return []string{"--readonly", filepath.Join(dir, fileName), uri}
	})
}
