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
	confirm := func(ctx context.Context) (away bool, err error) {
		now := h.n.t.target.Now()
		return retryInterrupted(ctx, func(ctx context.Context) (bool, error) { return h.confirm(ctx, now) })
	}
	f := pins.File{Cache: h.n.t.cfg.Cache, Source: &h.src, UID: caller.Uid, Confirm: confirm, RequireDirect: h.n.t.cfg.RequireDirect}
	return f.Ioctl(ctx, cmd, in, out)
}

// unlinked ends the pins of a file that was removed, which nobody can open any more to
// unpin it, once no program has it open.
func (h *handle) unlinked() {
	if h.n.t.open.judge(h.src.key) == nil {
		h.n.t.cfg.Cache.Forget(h.src.key)
	}
}

// Retain keeps the file open, so that its changes are noticed, until Release.
func (s *source) Retain() { s.users.Add(1) }

// Release closes the file after the last of its users.
func (s *source) Release() {
	if s.users.Add(-1) == 0 {
		s.file.Close()
	}
}
