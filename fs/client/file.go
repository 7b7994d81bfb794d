package client

import (
	"context"
	"errors"
	"fmt"

	"hbmfs/fs/uapi"
)

// File is an open file of a mount. Handles that were fetched through it are
// released when it closes.
type File struct {
	path      string
	sys       openFile
	mount     *Mount
	ownsMount bool
}

// Name is the path that the file was opened by.
func (f *File) Name() string { return f.path }

// Mount is the mount that the file was opened through.
func (f *File) Mount() *Mount { return f.mount }

// Release unpins what a handle of this file pins. The error wraps ENOENT if this
// file has no such handle. Handle 0, which a fetch of no bytes has, is none:
// nothing is done.
func (f *File) Release(handle uint64) error {
	if handle == 0 {
		return nil
	}
	if _, err := f.release(handle); err != nil {
		return fmt.Errorf("hbmfs: release handle %d of %s: %w", handle, f.path, err)
	}
	return nil
}

// ReleaseAll releases all handles of this file, and returns how many there
// were. It is for the program that does not know which it has, as after a fetch
// that failed with EFAULT.
func (f *File) ReleaseAll() (int, error) {
	n, err := f.release(0)
	if err != nil {
		return 0, fmt.Errorf("hbmfs: release all handles of %s: %w", f.path, err)
	}
	return n, nil
}

func (f *File) release(handle uint64) (int, error) {
	r := uapi.Release{Size: uint32(uapi.ReleaseSize), Handle: handle}
	buf := make([]byte, uapi.ReleaseSize)
	c := newCall(uapi.IocRelease, buf)
	if err := answered(context.Background(), f.sys, c, func() { uapi.EncodeRelease(buf, &r) }); err != nil {
		return 0, err
	}
	return int(uapi.DecodeReleaseReply(buf).Released), nil
}

// Digest returns the SHA-256 of length bytes from off, which the target computes
// from its source: what the bytes of a fetch can be checked against. The range
// must lie within the file. The end of ctx breaks it off, as it does
// [File.Fetch].
func (f *File) Digest(ctx context.Context, off, length int64) ([32]byte, error) {
	d := uapi.Digest{Size: uint32(uapi.DigestSize), Offset: uint64(off), Length: uint64(length)}
	buf := make([]byte, uapi.DigestSize)
	c := newCall(uapi.IocDigest, buf)
	if err := answered(ctx, f.sys, c, func() { uapi.EncodeDigest(buf, &d) }); err != nil {
		return [32]byte{}, fmt.Errorf("hbmfs: digest of %d bytes at %d of %s: %w", length, off, f.path, err)
	}
	return uapi.DecodeDigestReply(buf).SHA256, nil
}

// Bytes is [Mount.Bytes] of the file's mount.
func (f *File) Bytes(s Segment) ([]byte, error) { return f.mount.Bytes(s) }

// Close closes the file, and its mount if [Open] opened it. The mount releases
// the file's handles shortly after; to have them released on return, call
// [File.ReleaseAll] first. Calls under way are not broken off. The error wraps
// [ErrClosed] if the file is closed already.
func (f *File) Close() error {
	err := f.sys.Close()
	if err != nil {
		err = fmt.Errorf("hbmfs: close %s: %w: %w", f.path, ErrClosed, err)
	}
	if f.ownsMount {
		err = errors.Join(err, f.mount.Close())
	}
	return err
}
