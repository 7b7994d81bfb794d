// Package devicetest is what every provider of device memory is tested with:
// [Run] for what all of them promise, [RunImport] for those that import; and a
// provider of memory that the CPU can't touch, [Hidden], to test with what is
// above.
//
// Locking: none of its own.
package devicetest

import (
	"bytes"
	"errors"
	"os"
	"testing"

	"hbmfs/cache/device"
	"hbmfs/transport"
)

// Reader is memory that tests can read though the CPU has no view of it.
type Reader interface {
	// Read returns a copy of what the device sees in bytes [off, off+n).
	Read(off, n int64) []byte
}

var domain = transport.Domain{UID: 7, Device: 3}

// Run tests a provider. Regions whose Bytes is nil must be [Reader]s.
func Run(t *testing.T, p device.Provider) {
	for name, test := range map[string]func(*testing.T, device.Provider){
		"properties":     properties,
		"sizes":          refusedSizes,
		"failed Alloc":   failedAlloc,
		"copies":         copies,
		"copies outside": copiesOutside,
		"close":          closes,
	} {
		t.Run(name, func(t *testing.T) { test(t, p) })
	}
}

func alloc(t *testing.T, p device.Provider, size int64) device.Region {
	t.Helper()
	r, err := p.Alloc(domain, size)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// wait returns what an operation ends with.
func wait(op func(done func(error))) error {
	ended := make(chan error, 1)
	op(func(err error) { ended <- err })
	return <-ended
}

func copyIn(m transport.Memory, dst int64, src string) error {
	return wait(func(done func(error)) { m.CopyIn(dst, []byte(src), done) })
}

// read is what the device sees of a memory.
func read(t *testing.T, m transport.Memory, off, n int64) []byte {
	t.Helper()
	if err := wait(m.Visible); err != nil {
		t.Fatal(err)
	}
	if b := m.Bytes(); b != nil {
		return bytes.Clone(b[off : off+n])
	}
	return m.(Reader).Read(off, n)
}

func properties(t *testing.T, p device.Provider) {
	const size = 12345
	r := alloc(t, p, size)
	if r.Domain() != domain || r.Size() != size {
		t.Errorf("%d bytes for %v, want %d for %v", r.Size(), r.Domain(), size, domain)
	}
	if b := r.Bytes(); (b != nil) != p.CPU() || b != nil && len(b) != size {
		t.Errorf("the CPU sees %d bytes, of a provider with CPU %v", len(b), p.CPU())
	}
	if p.CPU() && r.FD() < 0 {
		t.Error("no descriptor to map")
	}
	if fd, off, ok := r.DMABuf(); ok != (fd >= 0) || off < 0 {
		t.Errorf("dma-buf %d at %d, %v", fd, off, ok)
	}
	select {
	case <-r.Revoked():
		t.Error("a new region is revoked")
	default:
	}
}

func refusedSizes(t *testing.T, p device.Provider) {
	for _, size := range []int64{0, -1} {
		if r, err := p.Alloc(domain, size); !errors.Is(err, device.ErrSize) {
			t.Errorf("size %d: %v, %v", size, r, err)
		}
	}
}

func failedAlloc(t *testing.T, p device.Provider) {
	before := countFDs(t)
	if r, err := p.Alloc(domain, 1<<62); err == nil {
		t.Fatalf("a region of 4 EiB: %v", r)
	}
	if after := countFDs(t); after != before {
		t.Errorf("%d descriptors after the failure, %d before", after, before)
	}
}

func copies(t *testing.T, p device.Provider) {
	r := alloc(t, p, 8192)
	spans := []transport.Span{{Mem: r, Off: 8188, Len: 4}, {Mem: r, Off: 4096, Len: 4}}
	err := errors.Join(copyIn(r, 4096, "tail"), copyIn(r, 8188, "last"), wait(r.Visible),
		wait(func(done func(error)) { r.Gather(0, spans, done) }))
	if err != nil {
		t.Fatal(err)
	}
	for off, want := range map[int64]string{0: "lasttail", 4096: "tail", 8188: "last"} {
		if got := read(t, r, off, int64(len(want))); string(got) != want {
			t.Errorf("%q at %d, want %q", got, off, want)
		}
	}
}

func copiesOutside(t *testing.T, p device.Provider) {
	r := alloc(t, p, 8192)
	before := read(t, r, 0, 8192)
	for off, src := range map[int64]string{8189: "last", -1: "x", 1 << 62: "x"} {
		if err := copyIn(r, off, src); !errors.Is(err, transport.ErrRange) {
			t.Errorf("%d bytes at %d: %v", len(src), off, err)
		}
	}
	if !bytes.Equal(read(t, r, 0, 8192), before) {
		t.Error("what was refused changed the region")
	}
}

func closes(t *testing.T, p device.Provider) {
	before := countFDs(t)
	r := alloc(t, p, 4096)
	r.Prepare(0, 4096)
	for range 2 {
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, ok := r.DMABuf(); ok || r.FD() != -1 || r.Bytes() != nil {
		t.Errorf("after Close: dma-buf %v, fd %d, %d bytes", ok, r.FD(), len(r.Bytes()))
	}
	r.Prepare(0, 4096)
	if after := countFDs(t); after != before {
		t.Errorf("%d descriptors after Close, %d before", after, before)
	}
}

func countFDs(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
