package tests

import (
	"bytes"
	"errors"
	"syscall"
	"testing"

	"hbmfs/cache/device"
	"hbmfs/fs/client"
	"hbmfs/fs/uapi"
	"hbmfs/transport"
)

// appMemory is a buffer of this process's own, and its view of it.
type appMemory struct {
	*client.Buffer
	mem []byte
}

// bufferSize is that of the buffers here, in bytes.
const bufferSize = 8*megabyte + 3*4096

func newMemfdBuffer(t *testing.T, f *file) appMemory {
	t.Helper()
	b, err := f.Mount().NewBuffer(bufferSize, 0)
	if err != nil {
		t.Fatal(err)
	}
	return appMemory{b, b.Bytes()}
}

// udmabufMemory makes a dma-buf as an application does.
func udmabufMemory(t *testing.T) (fd int, mem []byte) {
	t.Helper()
	p, err := device.Open("udmabuf")
	if err != nil {
		t.Fatal(err)
	}
	r, err := p.Alloc(transport.Domain{}, bufferSize)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	fd, _, _ = r.DMABuf()
	return fd, r.Bytes()
}

func newUdmabufBuffer(t *testing.T, f *file) appMemory {
	t.Helper()
	fd, mem := udmabufMemory(t)
	b, err := f.Mount().Register(fd, 0, bufferSize, 0)
	if err != nil {
		t.Fatal(err)
	}
	return appMemory{b, mem}
}

// checkBuffer brings tagged ranges, at odd offsets, to odd places of a buffer: cold, from
// device memory, and from both. All must come by a path, or have come by it.
func checkBuffer(t *testing.T, m *mount, f *file, b appMemory, path uapi.Path, why uapi.Reason) {
	t.Helper()
	if _, err := f.fetch(t.Context(), 3*megabyte+11, megabyte+77); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		at, off, n int64
		resident   bool
	}{
		{3, 1, 5, false},
		{4097, 13, 700_001, false},
		{99, 3*megabyte + 1000, 500_003, true},
		{bufferSize - 5*megabyte - 1, 2*megabyte + 7, 5*megabyte + 1, true},
		{0, fileSize - 9, 100, false},
		{1<<20 + 1, 8*megabyte + 5, 6*megabyte + 3, false},
	} {
		for i := range b.mem {
			b.mem[i] = 0xEE
		}
		got, err := f.ReadInto(t.Context(), b.Buffer, c.at, c.off, c.n)
		if err != nil {
			t.Fatal(err)
		}
		want := min(c.n, fileSize-c.off)
		if got.Fetched != want || (got.Resident > 0) != c.resident || got.Path != path || got.Why != why {
			t.Errorf("%+v: %+v, want path %v (%v)", c, got, path, why)
		}
		end := c.at + want
		if err := wrongWords(b.mem[c.at:end], f.number, f.version, c.off); err != nil {
			t.Errorf("%+v: %v", c, err)
		}
		before, after := b.mem[:c.at], b.mem[end:]
		if n := bytes.Count(before, []byte{0xEE}) + bytes.Count(after, []byte{0xEE}); n != len(before)+len(after) {
			t.Errorf("%+v: %d bytes beside the range were written", c, len(before)+len(after)-n)
		}
	}
	if s := m.stats(t).Buffers; s.Count != 1 || s.Bytes != bufferSize || s.Busy != 0 {
		t.Errorf("%+v", s)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}

// TestRDMABuffers: the NIC writes to a program's memory. Soft-RoCE registers no dma-bufs,
// nor the mapping of one; what is read into such is staged, and says so, or refused where
// only a direct path will do.
func TestRDMABuffers(t *testing.T) {
	startTarget(t, big(1, 1))
	m := direct(t)
	f := m.open(t, "f1", 1, 1)
	before := m.stats(t).Target.Link.Registrations.Bytes
	b := newMemfdBuffer(t, f)
	if got := m.stats(t).Target.Link.Registrations.Bytes; got-before < bufferSize {
		t.Errorf("%d bytes are registered, were %d", got, before)
	}
	checkBuffer(t, m, f, b, uapi.PathRDMA, uapi.WhyBest)
	if s := m.stats(t); s.Buffers.Paths[uapi.PathRDMA] != s.Buffers.Fetched {
		t.Errorf("%+v", s.Buffers)
	}
	fd, _ := udmabufMemory(t)
	if _, err := f.Mount().Register(fd, 0, bufferSize, 0); !errors.Is(err, syscall.EREMOTEIO) {
		t.Errorf("a dma-buf that can't be registered: %v, want EREMOTEIO", err)
	}
}

// TestRDMABufferStaged: what can't be registered is staged where that is allowed.
func TestRDMABufferStaged(t *testing.T) {
	startTarget(t, big(1, 1))
	m := startMount(t, "--transport", "rdma", "--device", "udmabuf", "--pool", smallPool)
	f := m.open(t, "f1", 1, 1)
	fd, mem := udmabufMemory(t)
	b, err := f.Mount().Register(fd, 0, bufferSize, 0)
	if err != nil {
		t.Fatal(err)
	}
	got, err := f.ReadInto(t.Context(), b, 5, 3, megabyte)
	if err == nil {
		err = wrongWords(mem[5:][:megabyte], 1, 1, 3)
	}
	if err != nil || got.Path != uapi.PathStaged || got.Why != uapi.WhyNotRegistered {
		t.Errorf("%+v, %v", got, err)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}

// TestDevmemBuffers: what the NIC put into its dma-buf is gathered into a program's
// memory, of either kind.
func TestDevmemBuffers(t *testing.T) {
	p := newPair(t)
	p.target(farAddr, big(1, 1))
	m := p.mount(farAddr)
	f := m.open(t, "f1", 1, 1)
	for name, b := range map[string]func(*testing.T, *file) appMemory{"memfd": newMemfdBuffer, "udmabuf": newUdmabufBuffer} {
		t.Run(name, func(t *testing.T) { checkBuffer(t, m, f, b(t, f), uapi.PathDevmemTCP, uapi.WhyBest) })
	}
	if s := m.stats(t); s.Buffers.Paths[uapi.PathDevmemTCP] != s.Buffers.Fetched || s.Target.Link.Devmem.HostBytes != 0 {
		t.Errorf("%+v, %+v", s.Buffers, s.Target.Link.Devmem)
	}
}
