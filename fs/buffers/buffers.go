// Package buffers keeps memory that programs registered, by number ([Table]), and fills
// it with ranges of files ([Buffer.Fill]): what a user has of a range in device memory is
// gathered from there, and the rest requested straight into the buffer.
//
// It answers what the control socket is asked about buffers, knows no FUSE, vouches for no
// file, and keeps nothing of what it brings. A buffer ends when its owner says so, and is
// let go of when nothing can write to it any more, whoever has stopped waiting for that.
//
// Locking: Table.mu guards the buffers and who uses them; filling.mu one fill. Neither is
// held while anything is attached, submitted, gathered, released or closed, nor one taken
// under the other.
package buffers

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"hbmfs/cache"
	"hbmfs/cache/device"
	"hbmfs/fs/uapi"
	"hbmfs/transport"
	"hbmfs/transport/limits"
	"hbmfs/transport/logging"
)

// Config is what a [Table] works with.
type Config struct {
	// Cache has the devices, and what is resident.
	Cache *cache.Cache
	// Extent is the largest request, in bytes, and what files are cut into for them.
	Extent int64
	// Timeout is how long Attach may take, and how long a fill waits for any progress.
	Timeout time.Duration
	// Attach prepares memory as a destination of transfers, and Detach undoes that; no
	// transfer is under way then. Both may be nil.
	Attach func(context.Context, transport.Memory) error
	Detach func(transport.Memory) error
	Log    *logging.Limiter
}

// Table is the buffers of a mount. Its methods may be called concurrently.
type Table struct {
	cfg      Config
	life     context.Context
	close    context.CancelFunc
	count    *limits.Limit // buffers, by user
	underWay *limits.Limit // requests, likewise

	mu    sync.Mutex
	last  uint32 // number given out
	by    map[uint32]*Buffer
	bytes int64

	ended             atomic.Int64 // requests
	fetched, resident atomic.Int64
	paths             [uapi.NumPaths]atomic.Int64
}

// New returns a table without buffers. Their numbers begin somewhere, so that none of
// another mount's, or daemon's, means anything here.
func New(cfg Config) *Table {
	limit := func(what string, all, each int64, remedy string) *limits.Limit {
		return limits.New(limits.Config{What: what, All: all, Each: each, Remedy: remedy, Log: cfg.Log})
	}
	life, end := context.WithCancel(context.Background())
	return &Table{
		cfg: cfg, life: life, close: end, by: make(map[uint32]*Buffer), last: rand.Uint32N(math.MaxUint32 / 2),
		count:    limit("buffers", 4096, 1024, "register fewer, and larger ones"),
		underWay: limit("requests into buffers", 4096, 0, "ask for fewer at a time"),
	}
}

// Close breaks off who registers memory; there will be no further buffers. Those that
// there are remain their owners' to close.
func (t *Table) Close() { t.close() }

// Buffer is memory that a program registered.
type Buffer struct {
	table *Table
	id    uint32
	mem   device.Buffer
	share *limits.Share

	// Guarded by Table.mu:
	users   int
	ended   bool
	dropped func() // may be nil
	strays  []*stray
}

// ID is the buffer's number, which no other ever has.
func (b *Buffer) ID() uint32 { return b.id }

// Size is in bytes.
func (b *Buffer) Size() int64 { return b.mem.Size() }

// Register makes bytes [off, off+length) of what fd refers to a buffer of the domain's.
// fd stays the caller's, who may close it at once, and ends the buffer by Close. The error
// wraps [limits.ErrLimit], [cache.ErrNoDevice], [device.ErrImport], or what Attach failed
// with.
func (t *Table) Register(dom transport.Domain, fd int, off, length int64) (*Buffer, error) {
	d, err := t.cfg.Cache.Device(dom.Device)
	if err == nil {
		err = t.life.Err()
	}
	if err != nil {
		return nil, err
	}
	share, err := t.count.Take(userName(dom.UID), 1)
	if err != nil {
		return nil, err
	}
	mem, err := t.take(d.Provider, dom, fd, off, length)
	if err != nil {
		share.Leave()
		return nil, err
	}
	return t.enter(&Buffer{table: t, mem: mem, share: share}), nil
}

// take imports memory and attaches it.
func (t *Table) take(p device.Provider, dom transport.Domain, fd int, off, length int64) (device.Buffer, error) {
	mem, err := device.Import(p, dom, fd, off, length)
	if err != nil {
		return nil, err
	}
	if err = mem.CheckPages(0, length); err == nil && t.cfg.Attach != nil {
		ctx, cancel := context.WithTimeout(t.life, t.cfg.Timeout)
		defer cancel()
		err = t.cfg.Attach(ctx, mem)
	}
	if err != nil {
		t.warn("close memory that can't be used", mem.Close())
		return nil, fmt.Errorf("%d bytes for uid %d on device %d: %w", length, dom.UID, dom.Device, err)
	}
	return mem, nil
}

func (t *Table) enter(b *Buffer) *Buffer {
	t.mu.Lock()
	defer t.mu.Unlock()
	for t.last++; t.last == 0 || t.by[t.last] != nil; t.last++ { // after some billions
	}
	b.id = t.last
	t.by[b.id] = b
	t.bytes += b.Size()
	return b
}

// Use returns the buffer of a number for a user, who gives it back by Done. The error is
// ENOENT or EACCES.
func (t *Table) Use(uid, id uint32) (*Buffer, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	b, err := t.find(uid, id)
	if err != nil {
		return nil, err
	}
	b.users++
	return b, nil
}

// find is that of who asks. With mu.
func (t *Table) find(uid, id uint32) (*Buffer, error) {
	b := t.by[id]
	switch {
	case b == nil:
		return nil, syscall.ENOENT
	case b.mem.Domain().UID != uid:
		return nil, syscall.EACCES
	}
	return b, nil
}

// onUnregister sets what [Table.Unregister] calls: then nobody has to close b any more.
func (b *Buffer) onUnregister(fn func()) {
	b.table.mu.Lock()
	defer b.table.mu.Unlock()
	b.dropped = fn
}

// Unregister ends a user's buffer. The error is ENOENT, EACCES, or EBUSY while it is in
// use: then it is as it was.
func (t *Table) Unregister(uid, id uint32) error {
	b, dropped, err := t.endIdle(uid, id)
	if err != nil {
		return err
	}
	if dropped != nil {
		dropped()
	}
	b.letGo()
	return nil
}

func (t *Table) endIdle(uid, id uint32) (b *Buffer, dropped func(), err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if b, err = t.find(uid, id); err != nil {
		return nil, nil, err
	}
	if b.users > 0 {
		return nil, nil, syscall.EBUSY
	}
	t.end(b)
	return b, b.dropped, nil
}

// Close ends the buffer: nobody finds it any more. It is let go of once it is in no use. A
// second call does nothing.
func (b *Buffer) Close() {
	t := b.table
	t.mu.Lock()
	last := !b.ended && b.users == 0
	if !b.ended {
		t.end(b)
	}
	t.mu.Unlock()
	if last {
		b.letGo()
	}
}

// end takes b out of the table. With mu.
func (t *Table) end(b *Buffer) {
	b.ended = true
	delete(t.by, b.id)
	t.bytes -= b.Size()
}

// again is one more use by who has one.
func (b *Buffer) again() {
	b.table.mu.Lock()
	defer b.table.mu.Unlock()
	b.users++
}

// Done gives a use back. It does not block: the last use of a buffer that has ended has
// another goroutine let go of it.
func (b *Buffer) Done() {
	t := b.table
	t.mu.Lock()
	b.users--
	last := b.ended && b.users == 0
	t.mu.Unlock()
	if last {
		go b.letGo()
	}
}

// letGo gives up what Register took. Nothing writes to the memory any more.
func (b *Buffer) letGo() {
	t := b.table
	if t.cfg.Detach != nil {
		t.warn("detach a buffer", t.cfg.Detach(b.mem))
	}
	t.warn("close a buffer", b.mem.Close())
	b.share.Leave()
}

func (t *Table) warn(what string, err error) {
	if err != nil {
		t.cfg.Log.Warn(what, "", "error", err)
	}
}

func userName(uid uint32) string { return fmt.Sprintf("uid %d", uid) }
