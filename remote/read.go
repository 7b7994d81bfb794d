package remote

import (
	"context"
	"fmt"
	"math/bits"
	"sync"
	"sync/atomic"
	"time"

	"hbmfs/transport"
)

// MaxRead is the largest plain read, in bytes.
const MaxRead = 1 << 20

// Buffers come in powers of two, from 4 KiB to MaxRead.
const (
	minClass = 12
	maxClass = 20
)

// Buffer is a host buffer with the bytes of a plain read.
type Buffer struct {
	data  []byte // as large as its class
	n     int
	req   transport.Request
	reqs  [1]*transport.Request // &req
	state atomic.Uint32
	res   transport.Result // of req, once ready
	ready chan struct{}    // capacity 1
	timer *time.Timer
}

// States of a Buffer. Whoever comes second, of its waiter and its transfer,
// finds what the first has left.
const (
	bufferWaiting   uint32 = iota
	bufferDone             // the transfer has ended, and ready has or gets a value
	bufferAbandoned        // the waiter is gone: the transfer gives the buffer back
)

var buffers [maxClass - minClass + 1]sync.Pool

func classOf(n int) int {
	return max(bits.Len(uint(max(n, 1)-1)), minClass) - minClass
}

func newBuffer(n int) *Buffer {
	class := classOf(n)
	b, ok := buffers[class].Get().(*Buffer)
	if !ok {
		b = &Buffer{
			data:  make([]byte, 1<<(class+minClass)),
			ready: make(chan struct{}, 1),
			timer: time.NewTimer(time.Hour),
		}
		b.timer.Stop()
		b.req.Dst.Mem = transport.HostMemory(b.data)
		b.req.Done = b.done
		b.reqs[0] = &b.req
	}
	b.n = n
	return b
}

// Bytes returns what was read; it is good until Release.
func (b *Buffer) Bytes() []byte { return b.data[:b.n] }

// Release gives the buffer back. It must be called once.
func (b *Buffer) Release() { buffers[classOf(len(b.data))].Put(b) }

func (b *Buffer) done(res transport.Result) {
	b.res = res
	if b.state.CompareAndSwap(bufferWaiting, bufferDone) {
		b.ready <- struct{}{}
		return
	}
	b.Release()
}

// Read returns a buffer with the bytes from off to off+n, or to the end of the
// file if that comes first. n is [MaxRead] at most. The caller releases the
// buffer. If ctx ends or the time-out is over first, the transfer keeps it.
//
// The error wraps [transport.ErrStale], another of package transport's, or is
// ctx's.
func (f *File) Read(ctx context.Context, off int64, n int) (*Buffer, error) {
	if off < 0 || n < 0 || n > MaxRead {
		return nil, fmt.Errorf("read of %d bytes at %d: %w", n, off, transport.ErrRange)
	}
	b := newBuffer(int(min(int64(n), max(f.Size()-off, 0))))
	if b.n == 0 {
		return b, nil
	}
	if res, ok := f.exchange(ctx, off, b.Bytes()); ok {
		if res.Err != nil {
			b.Release()
			return nil, res.Err
		}
		return b, nil
	}
	b.req.Off, b.req.Dst.Len = off, int64(b.n)
	b.state.Store(bufferWaiting)
	f.Submit(b.reqs[:])
	if err := b.wait(ctx, f.t.cfg.Timeout); err != nil {
		return nil, err
	}
	if err := b.res.Err; err != nil {
		b.Release()
		return nil, err
	}
	return b, nil
}

// exchange reads at once, without a request, where the link can. It reports
// false if it can't.
func (f *File) exchange(ctx context.Context, off int64, dst []byte) (transport.Result, bool) {
	t := f.t
	t.mu.Lock()
	s := t.cur
	if s == nil || f.session != s || t.closed || f.closed.Load() || f.Stale() {
		t.mu.Unlock()
		return transport.Result{}, false
	}
	ref := transport.FileRef{Handle: f.handle, Version: f.attr.Version}
	f.refs.Add(1)
	t.mu.Unlock()
	defer f.release()
	x, ok := s.link.(transport.Exchanger)
	if !ok {
		return transport.Result{}, false
	}
	res, ok := x.Exchange(ctx, ref, off, dst)
	if ok {
		t.counters.ended(&res, int64(len(dst)))
	}
	return res, ok
}

// wait returns nil once the transfer has ended, or why it was given up.
func (b *Buffer) wait(ctx context.Context, timeout time.Duration) error {
	b.timer.Reset(timeout)
	var err error
	select {
	case <-b.ready:
		b.timer.Stop()
		return nil
	case <-ctx.Done():
		err = ctx.Err()
	case <-b.timer.C:
		err = fmt.Errorf("%w: %w: no answer within %v", transport.ErrConnLost, transport.ErrStalled, timeout)
	}
	b.timer.Stop() // b may be someone else's at once
	if b.state.CompareAndSwap(bufferWaiting, bufferAbandoned) {
		return err
	}
	<-b.ready
	return nil
}
