package fs

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"hbmfs/fs/batch"
	"hbmfs/fs/creds"
	"hbmfs/fs/ctl"
	"hbmfs/fs/ring"
	"hbmfs/fs/uapi"
	"hbmfs/remote"
	"hbmfs/transport"
	"hbmfs/transport/limits"
)

// ctlRing makes a ring, which ends with the connection.
func (t *tree) ctlRing(c *ctl.Conn, req *ctl.Request) ctl.Reply {
	q, err := uapi.DecodeCtlRingRequest(req.Body)
	if err == nil && len(req.FDs) > 0 {
		err = fmt.Errorf("%w: %d descriptors came with it", syscall.EINVAL, len(req.FDs))
	}
	if err != nil {
		return ctl.Fail(err)
	}
	r, fds, err := t.rings.New(ownerOf(c), q.Entries, q.NameBytes)
	if err != nil {
		if !errors.Is(err, limits.ErrLimit) { // which the log is told of already
			t.log.Warn("make a ring", c.User(), "uid", c.UID, "error", err)
		}
		return ctl.Fail(err)
	}
	if c.Keep(r) {
		r.OnEnd(func() { c.Drop(r) })
	} else {
		r.Close()
	}
	return ctl.Reply{Head: uapi.CtlReply{Length: uint64(r.Len()), Region: r.Number()}, FDs: fds}
}

func ownerOf(c *ctl.Conn) ring.Owner {
	o := ring.Owner{UID: c.UID, GID: c.GID, PID: c.PID}
	if err := c.Socket(func(fd int) { o.Creds, o.CredsErr = creds.OfPeer(fd, c.PID, c.UID, c.GID) }); err != nil {
		o.CredsErr = syscall.EACCES
	}
	return o
}

// ringCaller has existing code run for the ring's user.
func ringCaller(r *ring.Ring) *fuse.Caller {
	return &fuse.Caller{Owner: fuse.Owner{Uid: r.UID, Gid: r.GID}, Pid: r.PID}
}

// ioctlRing registers an open file with a ring of the caller's, or ends that.
func (t *tree) ioctlRing(ctx context.Context, g *ring.Registered, cmd uint32, in, out []byte, file func(*ring.Ring) ring.File) error {
	f, err := uapi.DecodeRingFile(cmd, in)
	if err != nil {
		return err
	}
	caller, ok := fuse.FromContext(ctx)
	if !ok {
		return syscall.EIO
	}
	r, err := t.rings.Of(caller.Uid, f.Ring)
	switch {
	case err != nil:
	case f.Flags&uapi.RingRemove != 0:
		err = g.Remove(r, f.File)
	default:
		f.File, err = g.Add(r, file(r))
	}
	if err != nil {
		return err
	}
	uapi.EncodeRingFile(out, &f)
	return nil
}

// ringFile is an open file as a ring names it.
type ringFile struct {
	h      *handle
	caller *fuse.Caller
}

func (f *ringFile) Retain()  { f.h.src.Retain() }
func (f *ringFile) Release() { f.h.src.Release() }

// Resident is a FETCH of what is in device memory and, since the operation was submitted,
// vouched for.
func (f *ringFile) Resident(op *uapi.RingOp, since time.Duration, got *ring.Got) bool {
	src, t := &f.h.src, f.h.n.t
	if op.Op != uapi.RingFetch || !src.settled || src.file.Stale() {
		return false
	}
	src.file.VouchAhead(remote.Moment(since))
	l := t.cfg.Cache.Resident(src, transport.Domain{UID: f.caller.Uid, Device: op.Device}, int64(op.Offset), int64(op.Length), 1)
	if l == nil {
		return false
	}
	// As confirm has it, in this order: what was in device memory may have been old.
	if !src.file.IsVouched(remote.Moment(since)) || t.cfg.RequireDirect && !l.Path().Direct() {
		l.Release()
		return false
	}
	fillRing(got, &batch.Got{Pinned: l, Size: src.Size()})
	return true
}

// Fetch is the ioctl's, for the ring's user.
func (f *ringFile) Fetch(ctx context.Context, op *uapi.RingOp, name string) (got ring.Got, errno syscall.Errno) {
	err := error(syscall.EINVAL)
	if name == "" {
		err = f.fetch(fuse.NewContext(ctx, f.caller), op, &got)
	}
	if err != nil {
		return ring.Got{}, f.h.n.t.errno("ring", f.h.n.at(), err)
	}
	return got, 0
}

func (f *ringFile) fetch(ctx context.Context, op *uapi.RingOp, got *ring.Got) error {
	req := batchOf(op)
	into, err := f.h.n.t.destination(ctx, req)
	if err != nil {
		return err
	}
	if into != nil {
		defer into.Done()
	}
	b, err := f.h.getEntry(ctx, req, into, entryOf(op), oneSegment{})
	if err != nil {
		return err
	}
	fillRing(got, &b)
	return nil
}

// batchOf is a batch that has one entry, the operation.
func batchOf(op *uapi.RingOp) *uapi.BatchRequest {
	if op.Op == uapi.RingFetchInto {
		return &uapi.BatchRequest{Batch: uapi.Batch{Flags: uapi.BatchInto, Device: op.Buffer}}
	}
	return &uapi.BatchRequest{Batch: uapi.Batch{Flags: uint32(op.Flags), Device: op.Device}}
}

func entryOf(op *uapi.RingOp) *uapi.BatchEntry {
	return &uapi.BatchEntry{Offset: op.Offset, Length: op.Length, Cursor: op.BufferOffset}
}

// oneSegment is all that the completion of a ring has room for.
type oneSegment struct{}

func (oneSegment) Limit(int64) int { return 1 }

// fillRing tells what was fetched, which is pinned if there is any.
func fillRing(got *ring.Got, b *batch.Got) {
	var e uapi.BatchEntry
	b.Note(&e)
	d := &got.Done
	*d = uapi.RingDone{Flags: e.Flags, Path: e.Path, Why: e.Why, Length: e.Fetched, Cursor: e.Cursor, FileSize: e.FileSize}
	if len(b.Segments()) == 0 { // no bytes, or they are in a buffer
		b.Release()
		return
	}
	s := &b.Segments()[0]
	d.Region, d.RegionOffset = s.Region, uint64(s.RegionOff)
	if s.Hit {
		d.Flags |= uapi.RingHit
	}
	got.Held = b.Pinned
}

// ringDir is an open directory as a ring names it.
type ringDir struct {
	h      *dirHandle
	caller *fuse.Caller
	owner  ring.Owner
}

func (d *ringDir) Retain()  {}
func (d *ringDir) Release() {}

// Resident opens nothing: that asks the target.
func (d *ringDir) Resident(*uapi.RingOp, time.Duration, *ring.Got) bool { return false }

// Fetch opens a file beneath the directory for who has made the ring's connection.
func (d *ringDir) Fetch(ctx context.Context, op *uapi.RingOp, name string) (got ring.Got, errno syscall.Errno) {
	err := error(syscall.EISDIR)
	if name != "" {
		err = d.fetch(fuse.NewContext(ctx, d.caller), op, name, &got)
	}
	if err != nil {
		return ring.Got{}, d.h.n.t.errno("ring", join(d.h.n.at(), name), err)
	}
	return got, 0
}

func (d *ringDir) fetch(ctx context.Context, op *uapi.RingOp, name string, got *ring.Got) error {
	if d.owner.CredsErr != nil {
		return d.owner.CredsErr
	}
	req := batchOf(op)
	into, err := d.h.n.t.destination(ctx, req)
	if err != nil {
		return err
	}
	if into != nil {
		defer into.Done()
	}
	g, err := d.h.n.namesOf(ctx, d.owner.Creds, req)
	if err != nil {
		return err
	}
	g.into = into
	b, err := g.Get(ctx, entryOf(op), []byte(name), oneSegment{})
	if err != nil {
		return err
	}
	fillRing(got, &b)
	return nil
}
