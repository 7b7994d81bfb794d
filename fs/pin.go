package fs

import (
	"context"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"hbmfs/fs/pins"
)

// ioctlPins answers what is asked of the pins of the caller's user.
func (h *handle) ioctlPins(ctx context.Context, cmd uint32, in, out []byte) error {
	caller, ok := fuse.FromContext(ctx)
	if !ok {
		return syscall.EIO
	}
	arrived := h.n.t.target.Now()
	f := pins.File{Cache: h.n.t.cfg.Cache, Source: &h.src, UID: caller.Uid, Confirm: func(ctx context.Context) error {
		return retryInterruptedErr(ctx, func(ctx context.Context) error {
			_, err := h.confirm(ctx, arrived)
			return err
		})
	}}
	return f.Ioctl(ctx, cmd, in, out)
}

// Retain keeps the file open, so that its changes are noticed, until Release.
func (s *source) Retain() { s.users.Add(1) }

// Release closes the file after the last of its users.
func (s *source) Release() {
	if s.users.Add(-1) == 0 {
		s.file.Close()
	}
}
