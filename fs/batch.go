package fs

import (
	"context"
	"errors"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"hbmfs/fs/batch"
	"hbmfs/fs/buffers"
	"hbmfs/fs/byname"
	"hbmfs/fs/creds"
	"hbmfs/fs/ctl"
	"hbmfs/fs/handles"
	"hbmfs/fs/uapi"
	"hbmfs/transport"
)

// pinned is what a handle stands for: segments of one version of a file that stay as
// they are until Release. It is a [*cache.Lease] or a [*loan].
type pinned = batch.Pinned

// ioctlBatch fetches ranges of the open file.
func (h *handle) ioctlBatch(ctx context.Context, cmd uint32, in, out []byte) error {
	r, err := uapi.DecodeRanges(cmd, in)
	if err != nil {
		return err
	}
	return h.n.batch(ctx, &h.pins, &r, out, func(into *buffers.Buffer) (batch.Getter, error) {
		return &ranges{h: h, req: &r, into: into}, nil
	})
}

// ioctlBatch fetches files beneath the directory, by name.
func (h *dirHandle) ioctlBatch(ctx context.Context, cmd uint32, in, out []byte) error {
	r, err := uapi.DecodeBatch(cmd, in)
	if err != nil {
		return err
	}
	return h.n.batch(ctx, &h.pins, &r, out, func(into *buffers.Buffer) (batch.Getter, error) {
		return h.n.namesFor(ctx, &r, into)
	})
}

// batch fetches entries on the node; into a buffer, if into is not nil.
func (n *node) batch(ctx context.Context, held *handles.Table, r *uapi.BatchRequest, out []byte, getter func(into *buffers.Buffer) (batch.Getter, error)) error {
	if r.Release != 0 && !held.Release(r.Release) {
		return syscall.ENOENT
	}
	into, err := n.t.destination(ctx, r)
	if err != nil {
		return err
	}
	if into != nil {
		defer into.Done()
	}
	g, err := getter(into)
	if err != nil {
		return err
	}
	turn := batch.Join(n.t.bounds.batches, userOf(ctx))
	defer turn.Leave()
	run, err := batch.Do(ctx, r, g, turn, n.t.cfg.Extent, n.entryErrno)
	if err != nil {
		return err
	}
	n.t.count.batches.Add(1)
	n.t.count.batchEntries.Add(int64(r.EntryCount))
	var handle uint64
	if run.Pins() {
		handle = n.t.handles.Add(1)
	}
	run.Encode(out, handle)
	held.Keep(handle, run)
	return nil
}

// destination is the buffer that a batch goes into, which its caller gives back; nil for
// device memory.
func (t *tree) destination(ctx context.Context, r *uapi.BatchRequest) (*buffers.Buffer, error) {
	if r.Into() {
		return t.useBuffer(ctx, r.Device)
	}
	_, err := t.cfg.Cache.Device(r.Device)
	return nil, err
}

// entryErrno is errno of an entry on the node; name is "" on a file.
func (n *node) entryErrno(name []byte, err error) syscall.Errno {
	at := n.at()
	if len(name) > 0 {
		at = join(at, string(name))
	}
	return n.t.errno("batch", at, err)
}

// getEntry fetches an entry of a batch, into a buffer if that is not nil.
func (h *handle) getEntry(ctx context.Context, r *uapi.BatchRequest, into *buffers.Buffer, e *uapi.BatchEntry, room batch.Room) (batch.Got, error) {
	if into != nil {
		return h.fillEntry(ctx, into, e)
	}
	return h.fetchEntry(ctx, r, e, room)
}

// fetchEntry is fetch of an entry of a batch.
func (h *handle) fetchEntry(ctx context.Context, r *uapi.BatchRequest, e *uapi.BatchEntry, room batch.Room) (batch.Got, error) {
	f := uapi.Fetch{Offset: e.Offset, Length: e.Length, Device: r.Device, Flags: r.Flags}
	if f.Flags == 0 {
		f.Flags = uapi.FetchRandom
	}
	size := h.src.Size()
	n := min(int64(e.Offset+e.Length), size) - min(int64(e.Offset), size)
	p, away, err := h.fetch(ctx, &f, room.Limit(n))
	return batch.Got{Pinned: p, Size: size, Unsettled: !h.src.settled, Away: away}, err
}

// ranges are the entries of a batch on an open file.
type ranges struct {
	h    *handle
	req  *uapi.BatchRequest
	into *buffers.Buffer // nil: device memory
}

func (g *ranges) Get(ctx context.Context, e *uapi.BatchEntry, _ []byte, room batch.Room) (batch.Got, error) {
	return g.h.getEntry(ctx, g.req, g.into, e, room)
}

// named are the entries of a batch on a directory.
type named struct {
	byname.Opener[File]
	n    *dirNode
	req  *uapi.BatchRequest
	into *buffers.Buffer // nil: device memory
}

// namesFor opens files beneath the directory for who makes the request.
func (n *dirNode) namesFor(ctx context.Context, r *uapi.BatchRequest, into *buffers.Buffer) (*named, error) {
	caller, ok := fuse.FromContext(ctx)
	if !ok {
		return nil, syscall.EIO
	}
	who, err := creds.OfBlocked(caller.Pid, caller.Uid, caller.Gid)
	if err != nil {
		return nil, err
	}
	g, err := n.namesOf(ctx, who, r)
	if err != nil {
		return nil, err
	}
	g.into = into
	return g, nil
}

// namesOf opens files beneath the directory for who.
func (n *dirNode) namesOf(ctx context.Context, who creds.Creds, r *uapi.BatchRequest) (*named, error) {
	g := &named{n: n, req: r, Opener: byname.Opener[File]{Tree: n.t.paths(n.ds), Dirs: n.t.dirs, Base: n.at(), Who: who}}
	a, err := g.StatBase(ctx)
	if errors.Is(err, syscall.ENOENT) || err == nil && n != n.ds.top && n.t.ino(n.ds, a) != n.StableAttr().Ino {
		return nil, transport.ErrStale // another directory has taken its name
	}
	return g, err
}

// Get gets the version that is there, or the next if it changes meanwhile.
func (g *named) Get(ctx context.Context, e *uapi.BatchEntry, name []byte, room batch.Room) (batch.Got, error) {
	return byname.Newest(func() (batch.Got, error) { return g.fetch(ctx, e, string(name), room) })
}

// fetch opens a file, fetches, and closes it: what is pinned needs it no more.
func (g *named) fetch(ctx context.Context, e *uapi.BatchEntry, name string, room batch.Room) (batch.Got, error) {
	f, err := g.Open(ctx, name)
	if err != nil {
		return batch.Got{}, err
	}
	defer f.Close()
	a := f.Attr()
	n := &fileNode{node: node{t: g.n.t, ds: g.n.ds}, attr: a, ino: g.n.t.ino(g.n.ds, &a)}
	h := &handle{n: n, src: source{file: f, key: n.key()}}
	h.src.settled, _ = f.Settled()
	f.OnStale(func() { n.t.cfg.Cache.Forget(n.key()) })
	return h.getEntry(ctx, g.req, g.into, e, room)
}

func (t *tree) paths(d *dataset) *byname.Paths[File] {
	p := &byname.Paths[File]{Target: t.target, Dataset: d.Name, OpenAt: t.openAt, Reopen: t.reopen}
	if d.top.IsRoot() {
		p.Hidden = ctl.DirName
	}
	if t.vouchedFor() {
		p.IsNow = t.isNow
	}
	return p
}
