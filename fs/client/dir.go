package client

import (
	"context"
	"fmt"
	"syscall"
)

// Dir is an open directory of a mount. Handles that were fetched through it are released
// when it closes.
type Dir struct{ f File }

// OpenDir opens a directory of the mount, whose names this process may list, for fetching
// files beneath it. The error wraps [ErrNotHBMFS] if it does not lie in this mount, and
// ENOTDIR if it is no directory.
func (m *Mount) OpenDir(path string) (*Dir, error) {
	f, err := m.openKind(path, directory)
	if err != nil {
		return nil, err
	}
	return &Dir{f: *f}, nil
}

// Name is the path that the directory was opened by.
func (d *Dir) Name() string { return d.f.path }

// FetchFiles brings a range of each of many files into device memory with one call, and
// pins them there under one handle, until [Dir.Release] or the end of the directory. No
// file is opened by this process: the mount opens, and checks for the calling thread
// whether it may, by mode bits; hbmfs.h says what of open(2) is passed by. A result whose
// error wraps EACCES may be a file that open(2) would open: [Mount.Open] tells.
//
// Each file is in the version that its name leads to within the call. For the rest,
// FetchFiles is as [File.FetchRanges].
func (d *Dir) FetchFiles(ctx context.Context, into *Batch, wants []Want, opts BatchOptions) error {
	return into.fetch(ctx, d.f.sys, d.f.path, wants, opts)
}

// Bytes is [Mount.Bytes] of the directory's mount.
func (d *Dir) Bytes(s Segment) ([]byte, error) { return d.f.Bytes(s) }

// Release is [File.Release].
func (d *Dir) Release(handle uint64) error { return d.f.Release(handle) }

// ReleaseAll is [File.ReleaseAll].
func (d *Dir) ReleaseAll() (int, error) { return d.f.ReleaseAll() }

// Close closes the directory, as [File.Close] does a file.
func (d *Dir) Close() error { return d.f.Close() }

// errNotOf is that path is not what it was opened as.
func errNotOf(path string, want, is kind) error {
	if want == directory {
		return fmt.Errorf("hbmfs: open %s: %w: it is a %s", path, syscall.ENOTDIR, is)
	}
	return fmt.Errorf("hbmfs: open %s: %w: it is a %s", path, ErrNotRegular, is)
}
