package devicetest

import (
	"bytes"
	"errors"
	"os"
	"testing"

	"hbmfs/cache/device"
	"hbmfs/transport"
)

// App is memory as an application made it: its descriptor, and its own mapping. It
// ends with the test.
type App struct {
	FD  int
	Mem []byte
}

// RunImport tests a provider that imports what newApp makes, which is of at least
// so many bytes.
func RunImport(t *testing.T, p device.Provider, newApp func(t *testing.T, size int64) App) {
	importer, ok := device.ImporterOf(device.Bounded(p))
	if !ok {
		t.Fatalf("%s imports nothing", p.Name())
	}
	t.Run("bytes", func(t *testing.T) { importedBytes(t, importer, newApp(t, 16384)) })
	t.Run("ranges", func(t *testing.T) { importedRanges(t, importer, newApp(t, 8192)) })
	t.Run("kinds", func(t *testing.T) { importedKinds(t, importer) })
	t.Run("close", func(t *testing.T) { importedCloses(t, importer, newApp(t, 8192)) })
}

// importedBytes: what is written comes to its place in the application's memory,
// and nothing beside it.
func importedBytes(t *testing.T, p device.Importer, app App) {
	for _, off := range []int64{0, 4096, 5000} { // at pages, and within one
		const size = 6000
		clear(app.Mem)
		b, err := p.Import(domain, app.FD, off, size)
		if err != nil {
			t.Fatal(err)
		}
		if b.Domain() != domain || b.Size() != size {
			t.Errorf("%d bytes for %v", b.Size(), b.Domain())
		}
		if fd, start, ok := b.DMABuf(); ok && (start != off || fd == app.FD) {
			t.Errorf("starts at %d of dma-buf %d, want %d of another descriptor", start, fd, off)
		}
		head, tail := b.(transport.Memory), int64(size-4)
		err = errors.Join(copyIn(b, 0, "head"), copyIn(b, tail, "tail"),
			wait(func(done func(error)) { b.Gather(100, []transport.Span{{Mem: head, Off: 0, Len: 4}}, done) }), wait(b.Visible))
		if outside := copyIn(b, size-3, "tail"); err != nil || !errors.Is(outside, transport.ErrRange) {
			t.Errorf("copies: %v; past the end: %v", err, outside)
		}
		want := make([]byte, len(app.Mem))
		copy(want[off:], "head")
		copy(want[off+100:], "head")
		copy(want[off+tail:], "tail")
		if !bytes.Equal(app.Mem, want) {
			t.Errorf("at %d, the application's memory is not as it should be", off)
		}
		app.Mem[off+1] = 'E' // and the other way round
		if got := read(t, b, 0, 4); string(got) != "hEad" {
			t.Errorf("reads %q", got)
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
}

func importedRanges(t *testing.T, p device.Importer, app App) {
	have := int64(len(app.Mem))
	before := countFDs(t)
	for _, r := range [][2]int64{{0, 0}, {0, -1}, {-1, 10}, {-4096, 10}, {0, have + 1}, {have, 1}, {1, have}, {1 << 62, 1 << 62}, {4096, 1<<63 - 1}} {
		if b, err := p.Import(domain, app.FD, r[0], r[1]); !errors.Is(err, device.ErrImport) {
			t.Errorf("%d bytes at %d of %d: %v, %v", r[1], r[0], have, b, err)
		}
	}
	if after := countFDs(t); after != before {
		t.Errorf("%d descriptors after the refusals, %d before", after, before)
	}
}

// importedKinds: what is no such memory is refused, whatever it is.
func importedKinds(t *testing.T, p device.Importer) {
	file, err := os.Create(t.TempDir() + "/file")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := file.Truncate(8192); err != nil {
		t.Fatal(err)
	}
	pipe, end, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	defer end.Close()
	dir, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	zero, err := os.OpenFile("/dev/zero", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer zero.Close()
	for what, f := range map[string]*os.File{"a file": file, "a pipe": pipe, "a directory": dir, "/dev/zero": zero} {
		if b, err := p.Import(domain, int(f.Fd()), 0, 4096); !errors.Is(err, device.ErrImport) {
			t.Errorf("%s: %v, %v", what, b, err)
		}
	}
	if b, err := p.Import(domain, -1, 0, 4096); err == nil {
		t.Errorf("no descriptor: %v", b)
	}
}

// importedCloses: Close gives up all that Import took, and no more.
func importedCloses(t *testing.T, p device.Importer, app App) {
	before := countFDs(t)
	b, err := p.Import(domain, app.FD, 0, 4096)
	if err != nil {
		t.Fatal(err)
	}
	if err := copyIn(b, 0, "kept"); err != nil {
		t.Error(err)
	}
	for range 2 {
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, ok := b.DMABuf(); ok || b.Bytes() != nil {
		t.Error("usable after Close")
	}
	if after := countFDs(t); after != before || string(app.Mem[:4]) != "kept" {
		t.Errorf("%d descriptors after Close, %d before; the application has %q", after, before, app.Mem[:4])
	}
}
