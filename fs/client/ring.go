package client

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"syscall"

	"hbmfs/fs/uapi"
)

// RingOptions says how large a ring is.
type RingOptions struct {
	// Entries is how many operations can be submitted before the mount has taken any: a
	// power of two up to [uapi.RingEntriesMax]; 0 is 64. Twice as many can be under way,
	// or completed and not yet returned by [Ring.Wait].
	Entries int
	// NameBytes is how long the name of an operation may be, though never longer than
	// [uapi.RingNameMax]; 0 is 256. All entries together have at most
	// [uapi.RingNameBytesMax].
	NameBytes int
}

// Ring is memory that this process and the mount share, by which operations are asked for
// and answered with few system calls, or none. What it pinned is released when it closes,
// also by the process's death.
//
// One goroutine may submit while another waits; more take turns.
type Ring struct {
	mount  *Mount
	link   *ringLink
	mem    uapi.RingMemory
	names  int // bytes of an entry's name
	number uint32

	registering sync.Mutex
	files       map[RingFile]openFile // guarded by registering; they stay open

	submitting sync.Mutex
	submitted  uint32        // guarded by submitting
	waiting    chan struct{} // has room for one: who waits, whose the next two are
	read       uint32
	revoked    uint32 // how often that was told
	closed     atomic.Bool
}

// RingFile is an open file or directory as a ring's operations name it.
type RingFile uint32

// OpKind is what an operation does.
type OpKind uint16

// Kinds of operations.
const (
	// OpNop completes.
	OpNop OpKind = uapi.RingNop
	// OpFetch is [File.Fetch] of one segment.
	OpFetch OpKind = uapi.RingFetch
	// OpFetchInto is [File.ReadInto].
	OpFetchInto OpKind = uapi.RingFetchInto
	// OpRelease releases a handle of the ring.
	OpRelease OpKind = uapi.RingRelease
	// OpCancel cancels the operation whose tag is Cancel: that completes with ECANCELED,
	// or with what it has got. The OpCancel fails with ENOENT if there is none.
	OpCancel OpKind = uapi.RingCancel
)

// Op is an operation of a ring.
type Op struct {
	Kind OpKind
	// Tag is what its completion has.
	Tag uint64
	// File is what OpFetch fetches from: a file or, with a Name, a directory. The mount
	// opens what is beneath it, and checks for who has made the ring whether he may,
	// as [Dir.FetchFiles] has it.
	File           RingFile
	Name           string
	Offset, Length int64
	Device         uint32
	// Access says what is kept. Detect is Random here.
	Access Access
	// Release is the handle that OpRelease releases, and OpFetch first; 0 is none.
	Release uint64
	Cancel  uint64
	// Into is the buffer that OpFetchInto brings the range into, at the place At. Device,
	// Access and Release mean nothing then.
	Into *Buffer
	At   int64
}

// Completion is what became of an operation.
type Completion struct {
	Tag uint64
	// Err is nil, or wraps what hbmfs.h lists, as [syscall.Errno].
	Err    error
	Handle uint64 // pins the segment; 0: no bytes, nothing to release
	// Segment is what was fetched; its bytes are [Mount.Bytes]. Its FileOffset is 0: the
	// offset was the operation's. Of an OpFetchInto it tells how much came, and by which
	// path.
	Segment  Segment
	Cursor   int64 // the offset to go on from, if More
	FileSize int64 // bytes
	Why      uapi.Reason
	// More: the range takes another segment.
	More bool
	// Unsettled is as [Lease] has it.
	Unsettled bool
}

// NewRing makes a ring on a connection of its own to the mount. It ends with [Ring.Close],
// which is to come before the mount's; a child that was forked without exec(2) keeps it.
// Errors wrap what hbmfs.h lists for CTL_RING, as [syscall.Errno], [ErrClosed] or
// [ErrProtocol].
func (m *Mount) NewRing(opts RingOptions) (*Ring, error) {
	entries, names := cmp.Or(opts.Entries, 64), cmp.Or(opts.NameBytes, 256)
	if entries < 0 || names < 0 || int64(entries)*int64(names) > uapi.RingNameBytesMax {
		return nil, fmt.Errorf("hbmfs: ring of %s: %w", m.root, explainBy(ringRequestRemedies, syscall.EINVAL))
	}
	r := &Ring{mount: m, names: names, waiting: make(chan struct{}, 1)}
	var err error
	if r.link, r.number, err = m.dialRing(uint32(entries), uint32(entries*names)); err != nil {
		return nil, fmt.Errorf("hbmfs: ring of %s: %w", m.root, err)
	}
	if r.mem, err = uapi.OpenRing(r.link.mapped); err != nil {
		r.link.close()
		return nil, fmt.Errorf("hbmfs: ring of %s: %w: %w", m.root, ErrProtocol, err)
	}
	return r, nil
}

// Register has the ring's operations fetch from an open file, until that is closed by
// [File.Close], or [Ring.Remove]. Errors wrap what hbmfs.h lists for RING_FILE.
func (r *Ring) Register(f *File) (RingFile, error) {
	n, err := r.register(f, uapi.RingFile{})
	if err != nil {
		return 0, fmt.Errorf("hbmfs: register %s: %w", f.path, err)
	}
	r.registering.Lock()
	defer r.registering.Unlock()
	if r.files == nil {
		r.files = make(map[RingFile]openFile)
	}
	r.files[RingFile(n)] = f.sys
	return RingFile(n), nil
}

// RegisterDir is [Ring.Register] of a directory, beneath which operations name files.
func (r *Ring) RegisterDir(d *Dir) (RingFile, error) { return r.Register(&d.f) }

// Remove ends the registration of an open file. What of an operation is under way still
// completes.
func (r *Ring) Remove(f *File, n RingFile) error {
	if _, err := r.register(f, uapi.RingFile{Flags: uapi.RingRemove, File: uint32(n)}); err != nil {
		return fmt.Errorf("hbmfs: remove %s from a ring: %w", f.path, err)
	}
	r.registering.Lock()
	defer r.registering.Unlock()
	delete(r.files, n)
	return nil
}

func (r *Ring) register(f *File, req uapi.RingFile) (uint32, error) {
	req.Size, req.Ring = uint32(uapi.RingFileSize), r.number
	buf := make([]byte, uapi.RingFileSize)
	c := newCall(uapi.IocRingFile, buf)
	c.remedies = ringRequestRemedies
	err := answered(context.Background(), f.sys, c, func() { uapi.EncodeRingFile(buf, &req) })
	return uapi.DecodeRingFileReply(buf).File, err
}

// Submit submits operations, and returns how many: fewer than all where the ring is full,
// which [Ring.Wait] makes room in. It waits for nothing, and allocates nothing. With an
// error, of the operation that comes next, those before are submitted.
func (r *Ring) Submit(ops []Op) (n int, err error) {
	r.submitting.Lock()
	defer r.submitting.Unlock()
	if r.closed.Load() {
		return 0, fmt.Errorf("hbmfs: submit to a ring of %s: %w", r.mount.root, ErrClosed)
	}
	for n < len(ops) && r.submitted-atomic.LoadUint32(&r.mem.SubmissionHead) < r.mem.Submissions() {
		if err = r.put(&ops[n]); err != nil {
			err = fmt.Errorf("hbmfs: submit to a ring of %s: %w", r.mount.root, err)
			break
		}
		n++
	}
	if n > 0 {
		atomic.StoreUint32(&r.mem.SubmissionTail, r.submitted)
		r.wake()
	}
	return n, err
}

// put writes an operation where the next submission is to be.
func (r *Ring) put(op *Op) error {
	if most := min(r.names, uapi.RingNameMax); len(op.Name) > most {
		return fmt.Errorf("%w: a name of %d bytes, and the ring's may have %d", syscall.ENAMETOOLONG, len(op.Name), most)
	}
	o := uapi.RingOp{UserData: op.Tag, Op: uint16(op.Kind), Handle: op.Release}
	switch op.Kind {
	case OpNop:
		o.Handle = 0
	case OpRelease:
	case OpCancel:
		o.Handle = op.Cancel
	case OpFetchInto:
		if op.Into == nil {
			return fmt.Errorf("%w: into no buffer", syscall.EINVAL)
		}
		o.File, o.Offset, o.Length, o.Handle = uint32(op.File), uint64(op.Offset), uint64(op.Length), 0
		o.Buffer, o.BufferOffset = op.Into.id, uint64(op.At)
		o.Name, o.NameLength = r.putName(op.Name)
	default:
		o.File, o.Offset, o.Length, o.Device, o.Flags = uint32(op.File), uint64(op.Offset), uint64(op.Length), op.Device, uint16(op.Access)
		o.Name, o.NameLength = r.putName(op.Name)
	}
	r.mem.Submit(r.submitted, &o)
	r.submitted++
	return nil
}

// putName puts a name where that of the next submission is to be.
func (r *Ring) putName(name string) (at uint32, length uint16) {
	if name == "" {
		return 0, 0
	}
	at = r.submitted % r.mem.Submissions() * uint32(r.names)
	copy(r.mem.Names()[at:], name)
	return at, uint16(len(name))
}

// wake wakes the mount if it sleeps.
func (r *Ring) wake() {
	if atomic.LoadUint32(&r.mem.SubmissionFlags)&uapi.RingNeedWakeup != 0 {
		r.link.wakeMount()
	}
}

// Wait returns completions, at least one and at most as many as into has room for. It
// allocates nothing, unless an operation failed or ctx can end. The error is ctx's, or
// wraps [ErrClosed], or ENOTCONN once the mount's daemon has ended: what was submitted is
// lost then, and what was pinned is not any more. It wraps ENODEV, once, when memory of
// the user's on a device was taken away: what is pinned there is of no use, and the ring
// goes on.
func (r *Ring) Wait(ctx context.Context, into []Completion) (n int, err error) {
	if !r.enter(ctx) {
		return 0, ended(ctx)
	}
	defer r.leave()
	if ctx.Done() != nil {
		defer context.AfterFunc(ctx, r.link.interrupt)()
	}
	for {
		if r.closed.Load() {
			return 0, fmt.Errorf("hbmfs: wait for a ring of %s: %w", r.mount.root, ErrClosed)
		}
		if n = r.take(into); n > 0 || len(into) == 0 {
			return n, nil
		}
		if ctx.Err() != nil {
			return 0, ended(ctx)
		}
		if n := atomic.LoadUint32(&r.mem.Revocations); n != r.revoked {
			r.revoked = n
			return 0, fmt.Errorf("hbmfs: wait for a ring of %s: device memory was taken away: %w", r.mount.root, syscall.ENODEV)
		}
		if err := r.sleep(); err != nil {
			return 0, fmt.Errorf("hbmfs: wait for a ring of %s: %w", r.mount.root, err)
		}
	}
}

// enter waits for the turn to wait. It reports false if ctx ended before.
func (r *Ring) enter(ctx context.Context) bool {
	select {
	case r.waiting <- struct{}{}:
		return true
	default:
	}
	select {
	case r.waiting <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (r *Ring) leave() { <-r.waiting }

// take returns how many completions there were.
func (r *Ring) take(into []Completion) (n int) {
	tail := atomic.LoadUint32(&r.mem.CompletionTail)
	for n < len(into) && r.read != tail {
		into[n] = completionOf(r.mem.Completion(r.read))
		r.read++
		n++
	}
	if n == 0 {
		return 0
	}
	atomic.StoreUint32(&r.mem.CompletionHead, r.read)
	if atomic.LoadUint32(&r.mem.SubmissionTail) != atomic.LoadUint32(&r.mem.SubmissionHead) {
		r.wake()
	}
	return n
}

// sleep waits until there may be a completion.
func (r *Ring) sleep() error {
	atomic.StoreUint32(&r.mem.CompletionFlags, uapi.RingNeedWakeup)
	defer atomic.StoreUint32(&r.mem.CompletionFlags, 0)
	if atomic.LoadUint32(&r.mem.CompletionTail) != r.read || r.closed.Load() {
		return nil
	}
	if atomic.LoadUint32(&r.mem.SubmissionFlags)&uapi.RingBroken != 0 {
		return fmt.Errorf("%w: the mount has ended the ring", ErrProtocol)
	}
	if r.link.sleep() && atomic.LoadUint32(&r.mem.CompletionTail) == r.read {
		return explain(syscall.ENOTCONN)
	}
	return nil
}

func completionOf(d uapi.RingDone) Completion {
	if d.Error != 0 {
		return Completion{Tag: d.UserData, Err: explainRing(syscall.Errno(d.Error))}
	}
	if max(d.Length, d.Cursor, d.FileSize, d.RegionOffset) > math.MaxInt64 || d.Path > math.MaxUint8 {
		return Completion{Tag: d.UserData, Err: fmt.Errorf("%w: a ring answered %+v", ErrProtocol, d)}
	}
	return Completion{
		Tag: d.UserData, Handle: d.Handle, Cursor: int64(d.Cursor), FileSize: int64(d.FileSize), Why: uapi.Reason(d.Why),
		Segment: Segment{
			Region: d.Region, RegionOffset: int64(d.RegionOffset), Length: int64(d.Length),
			Path: uapi.Path(d.Path), Hit: d.Flags&uapi.RingHit != 0,
		},
		More: d.Flags&uapi.BatchMore != 0, Unsettled: d.Flags&uapi.FetchUnsettled != 0,
	}
}

// Close ends the ring: operations under way are cancelled, and what it pinned is released
// shortly after. A Wait returns an error. The second Close does nothing.
func (r *Ring) Close() error {
	if r.closed.Swap(true) {
		return nil
	}
	r.link.interrupt()
	r.submitting.Lock()
	defer r.submitting.Unlock()
	r.enter(context.Background())
	defer r.leave()
	return r.link.close()
}
