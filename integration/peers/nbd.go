package main

import (
	"context"
	"fmt"
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
	p, err := start("nbdkit", "--foreground", "--readonly", "--pidfile", pidFile,
		"--ipaddr", "127.0.0.1", "--port", port, "file", s.file())
	if err != nil {
		return "", err
	}
	s.undo.add(p.stop)
	return "nbd://127.0.0.1:" + port, p.until(ctx, "its pid file", func() bool {
		_, err := os.Stat(pidFile)
		return err == nil
	})
}

// nbdcopy measures nbdcopy to nowhere, in bytes a second.
func (s *stage) nbdcopy(uri string) measure {
	return func(ctx context.Context) (float64, error) {
		d, err := timed(ctx, nil, "nbdcopy", "--connections=4", uri, "null:")
		return float64(s.size) / d.Seconds(), err
	}
}

// onNBDFuse measures a reader of a file that nbdfuse has just mounted.
func (s *stage) onNBDFuse(uri string, read func(context.Context, string) (float64, error)) measure {
	return func(ctx context.Context) (v float64, err error) {
		dir, err := s.mountPoint()
		if err != nil {
			return 0, err
		}
		path := filepath.Join(dir, fileName)
		p, err := mount(ctx, dir, "nbdfuse", "--readonly", path, uri)
		if err != nil {
			return 0, err
		}
		defer func() {
			if downErr := unmount(dir, p); err == nil && downErr != nil {
				err = fmt.Errorf("nbdfuse: %w", downErr)
			}
		}()
		return read(ctx, path)
	}
}
