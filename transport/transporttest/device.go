package transporttest

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"sync"
	"testing"
	"time"

	"hbmfs/transport"
)

// FakeDevice is memory that the CPU can't touch: Bytes is nil, copies are made
// later by an engine of its own, and what was copied is only seen by the device,
// and by [FakeDevice.Read], after Visible. It fails its test if a transport
// touches a copy's source before the copy is done.
type FakeDevice struct {
	tb      testing.TB
	domain  transport.Domain
	revoked chan struct{}
	idle    chan struct{} // closed when the engine has ended

	mu      sync.Mutex // guards all below
	changed *sync.Cond
	queue   []func()
	paused  bool
	closed  bool
	gone    bool   // revoked
	copied  []byte // what was copied in
	seen    []byte // of that, what was made visible
}

var _ transport.Memory = (*FakeDevice)(nil)

// NewFakeDevice returns size bytes of scribbled memory, whose engine ends with
// the test.
func NewFakeDevice(tb testing.TB, size int64) *FakeDevice {
	d := &FakeDevice{
		tb:      tb,
		domain:  transport.Domain{UID: 1000, Device: 1},
		revoked: make(chan struct{}),
		idle:    make(chan struct{}),
		copied:  make([]byte, size),
		seen:    make([]byte, size),
	}
	d.changed = sync.NewCond(&d.mu)
	Scribble(d.copied)
	Scribble(d.seen)
	go d.run()
	tb.Cleanup(func() { _ = d.Close() })
	return d
}

func (d *FakeDevice) Domain() transport.Domain   { return d.domain }
func (d *FakeDevice) Size() int64                { return int64(len(d.copied)) }
func (d *FakeDevice) DMABuf() (int, int64, bool) { return -1, 0, false }
func (d *FakeDevice) Bytes() []byte              { return nil }
func (d *FakeDevice) Revoked() <-chan struct{}   { return d.revoked }

// CopyIn copies later, and checks that src is then what it was.
func (d *FakeDevice) CopyIn(dst int64, src []byte, done func(error)) {
	before := crc32.ChecksumIEEE(src)
	d.enqueue(done, func() error {
		if crc32.ChecksumIEEE(src) != before {
			d.tb.Errorf("the %d bytes for offset %d changed before their copy was done", len(src), dst)
		}
		if dst < 0 || dst > d.Size()-int64(len(src)) {
			return fmt.Errorf("fake device: %w", transport.ErrRange)
		}
		copy(d.copied[dst:], src)
		return nil
	})
}

// Gather copies later, from other fakes or from memory that the CPU can touch.
func (d *FakeDevice) Gather(dst int64, src []transport.Span, done func(error)) {
	d.enqueue(done, func() error {
		at := dst
		for _, s := range src {
			from := s.Mem.Bytes()
			if f, ok := s.Mem.(interface{ Read(off, n int64) []byte }); ok {
				from = f.Read(0, s.Mem.Size())
			}
			if from == nil {
				return fmt.Errorf("fake device: gather: %w", transport.ErrUnavailable)
			}
			at += int64(copy(d.copied[at:], from[s.Off:s.Off+s.Len]))
		}
		return nil
	})
}

// Visible shows, later, all that was copied before.
func (d *FakeDevice) Visible(done func(error)) {
	d.enqueue(done, func() error {
		d.mu.Lock()
		defer d.mu.Unlock()
		copy(d.seen, d.copied)
		return nil
	})
}

// Read returns a copy of what the device sees.
func (d *FakeDevice) Read(off, n int64) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	return bytes.Clone(d.seen[off : off+n])
}

// Pause keeps copies waiting until Resume or Revoke.
func (d *FakeDevice) Pause() { d.set(func() { d.paused = true }) }

// Resume lets copies go on.
func (d *FakeDevice) Resume() { d.set(func() { d.paused = false }) }

// Revoke takes the memory back: what waits fails, and all that comes later.
func (d *FakeDevice) Revoke() {
	d.set(func() {
		if !d.gone {
			close(d.revoked)
		}
		d.gone = true
	})
}

// Waiting returns once n operations wait for the engine. It is for the test's own
// goroutine.
func (d *FakeDevice) Waiting(n int) {
	d.tb.Helper()
	end := time.Now().Add(patience)
	defer time.AfterFunc(patience, func() { d.set(func() {}) }).Stop()
	d.mu.Lock()
	defer d.mu.Unlock()
	for len(d.queue) < n && !d.closed {
		if time.Now().After(end) {
			d.tb.Fatalf("%d operations wait for the device, want %d", len(d.queue), n)
		}
		d.changed.Wait()
	}
}

func (d *FakeDevice) set(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f()
	d.changed.Broadcast()
}

// Close ends the engine: what waits fails. A second call does nothing.
func (d *FakeDevice) Close() error {
	d.set(func() { d.closed = true })
	<-d.idle
	return nil
}

var errEnded = errors.New("fake device: its test has ended")

func (d *FakeDevice) enqueue(done func(error), op func() error) {
	d.set(func() {
		if d.closed {
			go done(errEnded)
			return
		}
		d.queue = append(d.queue, func() { done(d.perform(op)) })
	})
}

func (d *FakeDevice) perform(op func() error) error {
	d.mu.Lock()
	gone, closed := d.gone, d.closed
	d.mu.Unlock()
	switch {
	case gone:
		return fmt.Errorf("fake device: %w", transport.ErrRevoked)
	case closed:
		return errEnded
	}
	return op()
}

// run is the engine: it performs what is queued, in order.
func (d *FakeDevice) run() {
	defer close(d.idle)
	for {
		op := d.next()
		if op == nil {
			return
		}
		op()
	}
}

func (d *FakeDevice) next() func() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for {
		held := d.paused && !d.gone && !d.closed
		if len(d.queue) > 0 && !held {
			op := d.queue[0]
			d.queue = d.queue[1:]
			return op
		}
		if d.closed {
			return nil
		}
		d.changed.Wait()
	}
}
