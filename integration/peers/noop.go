package main

import (
	"context"
	"os"
	"path/filepath"
	"strconv"

	"hbmfs/integration/peers/noop"
)

// noopDataset mounts a no-op mount with a dataset's names.
func (s *stage) noopDataset(d dataset) func(context.Context) (served, error) {
	return func(ctx context.Context) (served, error) {
		return s.mountNoop(ctx, strconv.Itoa(d.files))
	}
}

// mountNoop starts a no-op mount in a process of its own, as hbmfs has one.
func (s *stage) mountNoop(ctx context.Context, more ...string) (served, error) {
	self, err := os.Executable()
	if err != nil {
		return served{}, err
	}
	return s.mountBy(ctx, self, func(dir string) []string { return append([]string{noop.Command, dir}, more...) })
}

// openNoop opens the file of a no-op mount.
func (s *stage) openNoop(ctx context.Context) (*os.File, error) {
	m, err := s.mountNoop(ctx)
	if err != nil {
		return nil, err
	}
	s.undo.add(m.unmount)
	f, err := os.Open(filepath.Join(m.dir, fileName))
	if err != nil {
		return nil, err
	}
	s.undo.add(f.Close)
	return f, nil
}
