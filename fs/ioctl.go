package fs

import (
	"context"
	"errors"
	"syscall"
	"time"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"hbmfs/cache"
	"hbmfs/fs/batch"
	"hbmfs/fs/handles"
	"hbmfs/fs/ring"
	"hbmfs/fs/uapi"
	"hbmfs/remote"
	"hbmfs/transport"
)

// Ioctl is the device path. The kernel copies _IOC_SIZE(cmd) bytes in and out
// and follows no pointer.
func (h *handle) Ioctl(ctx context.Context, cmd uint32, _ uint64, in, out []byte) (int32, syscall.Errno) {
	var err error
	switch uapi.IocNr(cmd) {
	case uapi.NrFetch:
		err = h.ioctlFetch(ctx, cmd, in, out)
	case uapi.NrBatch:
		err = h.ioctlBatch(ctx, cmd, in, out)
	case uapi.NrFetchInto:
		err = h.ioctlFetchInto(ctx, cmd, in, out)
	case uapi.NrRelease:
		err = ioctlRelease(&h.pins, cmd, in, out)
	case uapi.NrInfo:
		err = h.n.t.ioctlInfo(cmd, in, out)
	case uapi.NrDigest:
		err = h.ioctlDigest(ctx, cmd, in, out)
	case uapi.NrPin, uapi.NrUnpin, uapi.NrEvict:
		err = h.ioctlPins(ctx, cmd, in, out)
	case uapi.NrRingFile:
		err = h.n.t.ioctlRing(ctx, &h.rings, cmd, in, out, func(r *ring.Ring) ring.File { return &ringFile{h, ringCaller(r)} })
	default:
		err = uapi.ErrCommand
	}
	if err != nil {
		return 0, h.n.t.errno("ioctl", h.n.at(), err)
	}
	return 0, 0
}

func (t *tree) ioctlDir(cmd uint32, in, out []byte) (int32, syscall.Errno) {
	var err error
	switch uapi.IocNr(cmd) {
	case uapi.NrInfo:
		err = t.ioctlInfo(cmd, in, out)
	case uapi.NrFetch, uapi.NrFetchInto, uapi.NrRelease, uapi.NrDigest, uapi.NrPin, uapi.NrUnpin, uapi.NrEvict:
		err = syscall.EISDIR
	case uapi.NrBatch, uapi.NrRingFile:
		err = syscall.EOPNOTSUPP
	default:
		err = uapi.ErrCommand
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
	if f.Release != 0 && !h.pins.Release(f.Release) {
		return syscall.ENOENT
	}
	if _, err := h.n.t.cfg.Cache.Device(f.Device); err != nil {
		return err
	}
	p, away, err := h.fetch(ctx, &f, capacity)
	if err != nil {
		return err
	}
	f.FileSize = uint64(h.src.Size())
	f.Flags, f.Handle = 0, 0 // whatever the caller left there
	if away || !h.src.settled {
		f.Flags |= uapi.FetchUnsettled
	}
	if _, lent := p.(*loan); lent {
		f.Flags |= uapi.FetchLoan
	}
	if p.Covered() > 0 {
		f.Handle = h.n.t.handles.Add(1)
	}
	f.Path, f.Why = uint32(p.Path()), uint32(p.Why())
	if away {
		f.Why = uint32(uapi.WhyTargetAway)
	}
	encodeFetch(out, &f, p)
	h.pins.Keep(f.Handle, p)
	return nil
}

// fetch pins a range for the caller's domain. What it returns is of the version
// that this file was opened as; away says that the target did not answer whether
// that is still the file's.
func (h *handle) fetch(ctx context.Context, f *uapi.Fetch, capacity int) (p pinned, away bool, err error) {
	if err := h.begins(); err != nil {
		return nil, false, err
	}
	caller, ok := fuse.FromContext(ctx)
	if !ok {
		return nil, false, syscall.EIO
	}
	arrived := h.n.t.target.Now()
	h.src.file.VouchAhead(arrived)
	p, err = h.pin(ctx, transport.Domain{UID: caller.Uid, Device: f.Device}, f, capacity)
	if err != nil {
		return nil, false, err
	}
	away, err = h.confirm(ctx, arrived)
	if err == nil && h.n.t.cfg.RequireDirect && p.Covered() > 0 && !p.Path().Direct() {
		err = syscall.EREMOTEIO
	}
	if err != nil {
		p.Release()
		return nil, false, err
	}
	return p, away, nil
}

// begins returns nil if bytes of the file may be asked for.
func (h *handle) begins() error {
	switch {
	case h.src.file.Stale():
		return transport.ErrStale
	case !h.src.settled && h.n.t.cfg.Strict:
		return syscall.EAGAIN
	}
	return nil
}

// confirm returns nil if what is pinned by now is of the file's version at some
// moment since the call arrived. It must come last: what was in device memory may have
// been old before. away says that the target does not answer; a strict mount then
// refuses.
func (h *handle) confirm(ctx context.Context, arrived remote.Moment) (away bool, err error) {
	if !h.src.settled {
		if h.src.file.Stale() {
			return false, transport.ErrStale
		}
		return false, nil
	}
	err = h.src.file.VouchSoon(ctx, arrived)
	if !errors.Is(err, transport.ErrConnLost) {
		return false, err
	}
	if h.n.t.cfg.Strict {
		return false, syscall.EAGAIN
	}
	return true, nil
}

// pin borrows a range, if that is asked for and possible, or else leases the
// extents that cover it.
func (h *handle) pin(ctx context.Context, dom transport.Domain, f *uapi.Fetch, capacity int) (pinned, error) {
	off, length := int64(f.Offset), int64(f.Length)
	if end := min(off+length, h.src.Size()); f.Flags&uapi.FetchLoan != 0 && off < end {
		l, err := h.borrow(ctx, dom, off, end, capacity)
		if err == nil {
			return l, nil
		}
		if !errors.Is(err, transport.ErrNoLoan) {
			return nil, err
		}
		h.n.t.count.refused(err)
	}
	if h.end.Load() < 0 {
		h.fetched(dom, f)
	}
	wait := time.Duration(f.WaitMS) * time.Millisecond
	l, err := h.n.t.cfg.Cache.FetchWithin(ctx, wait, &h.src, dom, off, length, h.access(f), capacity)
	if err != nil {
		return nil, err
	}
	if next := l.Next(); next != 0 {
		h.end.Store(next)
	}
	return l, nil
}

// access says what a FETCH keeps: whole extents if it begins where the one before
// it ended, unless it says what it is itself.
func (h *handle) access(f *uapi.Fetch) cache.Access {
	run := f.Length > 0 && h.end.Swap(int64(f.Offset+f.Length)) == int64(f.Offset)
	if f.Flags&uapi.FetchSequential != 0 || run && f.Flags&uapi.FetchRandom == 0 {
		return cache.Run
	}
	return cache.Exact
}

func encodeFetch(out []byte, f *uapi.Fetch, p pinned) {
	segments := p.Segments()
	f.SegmentCount = uint32(len(segments))
	f.Fetched = uint64(p.Covered())
	f.Cursor = uint64(p.Next())
	uapi.EncodeFetch(out, f)
	for i, s := range segments {
		uapi.EncodeSegment(out, f, i, batch.Segment(s))
	}
}

func ioctlRelease(held *handles.Table, cmd uint32, in, out []byte) error {
	r, err := uapi.DecodeRelease(cmd, in)
	if err != nil {
		return err
	}
	if r.Handle == 0 {
		r.Released = uint64(held.ReleaseAll())
	} else {
		r.Released, err = 1, held.End(r.Handle)
	}
	if err != nil {
		return err
	}
	uapi.EncodeRelease(out, &r)
	return nil
}

func (h *handle) ioctlDigest(ctx context.Context, cmd uint32, in, out []byte) error {
	d, err := uapi.DecodeDigest(cmd, in)
	if err != nil {
		return err
	}
	turn := h.n.t.bounds.digests.Join(userOf(ctx), 0)
	defer turn.Leave()
	if err := turn.Wait(ctx, 1); err != nil {
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
