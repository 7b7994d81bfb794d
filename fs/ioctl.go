package fs

import (
	"context"
	"syscall"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"hbmfs/cache"
	"hbmfs/fs/uapi"
	"hbmfs/transport"
)

// Ioctl is the device path. The kernel copies _IOC_SIZE(cmd) bytes in and out
// and follows no pointer.
func (h *handle) Ioctl(ctx context.Context, cmd uint32, _ uint64, in, out []byte) (int32, syscall.Errno) {
	var err error
	switch {
	case uapi.Type(cmd) != uapi.Magic:
		err = uapi.ErrCommand
	case uapi.Nr(cmd) == uapi.NrFetch:
		err = h.ioctlFetch(ctx, cmd, in, out)
	case uapi.Nr(cmd) == uapi.NrRelease:
		err = h.ioctlRelease(cmd, in, out)
	case uapi.Nr(cmd) == uapi.NrInfo:
		err = h.n.t.ioctlInfo(cmd, in, out)
	case uapi.Nr(cmd) == uapi.NrDigest:
		err = h.ioctlDigest(ctx, cmd, in, out)
	default:
		err = uapi.ErrCommand
	}
	if err != nil {
		return 0, h.n.t.errno("ioctl", h.n.at(), err)
	}
	return 0, 0
}

func (t *tree) ioctlDir(cmd uint32, in, out []byte) (int32, syscall.Errno) {
	err := error(uapi.ErrCommand)
	if uapi.Type(cmd) == uapi.Magic {
		switch uapi.Nr(cmd) {
		case uapi.NrInfo:
			err = t.ioctlInfo(cmd, in, out)
		case uapi.NrFetch, uapi.NrRelease, uapi.NrDigest:
			err = syscall.EISDIR
		}
	}
	if err != nil {
		return 0, t.errno("ioctl", "directory", err)
	}
	return 0, 0
}

func (h *handle) ioctlFetch(ctx context.Context, cmd uint32, in, out []byte) error {
	f, capacity, err := uapi.DecodeFetch(cmd, in)
	if err != nil {
		return err
	}
	if f.Release != 0 && !h.release(f.Release) {
		return syscall.ENOENT
	}
	if f.Device != 0 {
		return syscall.ENODEV
	}
	lease, err := h.fetch(ctx, int64(f.Offset), int64(f.Length), capacity)
	if err != nil {
		return err
	}
	f.FileSize = uint64(h.src.Size())
	f.Flags, f.Handle = 0, 0 // whatever the caller left there
	if !h.src.settled {
		f.Flags = uapi.FetchUnsettled
	}
	if lease.Covered() > 0 {
		f.Handle = h.n.t.handles.Add(1)
	}
	encodeFetch(out, &f, lease)
	h.keep(f.Handle, lease)
	return nil
}

// fetch pins the extents that cover a range, for the caller's domain. What it
// returns is of the version that this file was opened as.
func (h *handle) fetch(ctx context.Context, off, length int64, capacity int) (*cache.Lease, error) {
	if h.src.file.Stale() {
		return nil, transport.ErrStale
	}
	if !h.src.settled && h.n.t.cfg.Strict {
		return nil, syscall.EAGAIN
	}
	caller, ok := fuse.FromContext(ctx)
	if !ok {
		return nil, syscall.EIO
	}
	lease, err := h.n.t.cfg.Cache.Fetch(ctx, &h.src, transport.Domain{UID: caller.Uid}, off, length, capacity)
	switch {
	case err != nil:
		return nil, err
	case h.src.file.Stale():
		lease.Release()
		return nil, transport.ErrStale
	case h.n.t.cfg.RequireDirect && lease.Covered() > 0 && !lease.Path().Direct():
		lease.Release()
		return nil, syscall.EREMOTEIO
	}
	return lease, nil
}

// keep enters a lease into the handle's table; from then on another thread may
// release it. One that covers nothing has no handle and is released at once.
func (h *handle) keep(id uint64, lease *cache.Lease) {
	if id == 0 {
		lease.Release()
		return
	}
	h.mu.Lock()
	h.leases[id] = lease
	h.mu.Unlock()
}

func encodeFetch(out []byte, f *uapi.Fetch, lease *cache.Lease) {
	segments := lease.Segments()
	f.SegmentCount = uint32(len(segments))
	f.Fetched = uint64(lease.Covered())
	f.Cursor = uint64(lease.Next())
	f.Path, f.Why = uint32(lease.Path()), uint32(lease.Why())
	uapi.EncodeFetch(out, f)
	for i, s := range segments {
		var flags uint16
		if s.Hit {
			flags = uapi.SegmentHit
		}
		uapi.EncodeSegment(out, i, uapi.Segment{
			RegionOffset: uint64(s.RegionOff), FileOffset: uint64(s.FileOff), Length: uint64(s.Len),
			Region: s.Region, Path: uint16(s.Path), Flags: flags,
		})
	}
}

func (h *handle) ioctlRelease(cmd uint32, in, out []byte) error {
	r, err := uapi.DecodeRelease(cmd, in)
	if err != nil {
		return err
	}
	switch {
	case r.Handle == 0:
		r.Released = h.releaseAll()
	case h.release(r.Handle):
		r.Released = 1
	default:
		return syscall.ENOENT
	}
	uapi.EncodeRelease(out, &r)
	return nil
}

func (h *handle) release(id uint64) bool {
	h.mu.Lock()
	lease, ok := h.leases[id]
	delete(h.leases, id)
	h.mu.Unlock()
	if ok {
		lease.Release()
	}
	return ok
}

func (h *handle) releaseAll() uint64 {
	h.mu.Lock()
	leases := h.leases
	h.leases = make(map[uint64]*cache.Lease)
	h.mu.Unlock()
	for _, lease := range leases {
		lease.Release()
	}
	return uint64(len(leases))
}

func (h *handle) ioctlDigest(ctx context.Context, cmd uint32, in, out []byte) error {
	d, err := uapi.DecodeDigest(cmd, in)
	if err != nil {
		return err
	}
	d.SHA256, err = h.src.file.Digest(ctx, int64(d.Offset), int64(d.Length))
	if err != nil {
		return err
	}
	uapi.EncodeDigest(out, &d)
	return nil
}

var (
	_ fusefs.FileIoctler  = (*handle)(nil)
	_ fusefs.FileReader   = (*handle)(nil)
	_ fusefs.FileReleaser = (*handle)(nil)
	_ fusefs.NodeIoctler  = (*dirNode)(nil)
)
