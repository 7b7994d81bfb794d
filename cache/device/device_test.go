package device

import (
	"bytes"
	"encoding/binary"
	"errors"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"hbmfs/transport"
)

func TestMain(m *testing.M) {
	if size := os.Getenv(clientEnv); size != "" {
		os.Exit(clientMain(size))
	}
	goleak.VerifyTestMain(m)
}

// unsupported skips a test whose need this host can't meet.
func unsupported(t *testing.T, need string) {
	t.Helper()
	t.Skip("unsupported: " + need)
}

// eachProvider runs test for every provider that this host has a device for.
func eachProvider(t *testing.T, test func(*testing.T, Provider)) {
	for name, open := range providers {
		t.Run(name, func(t *testing.T) {
			if _, err := os.Stat(udmabufNode); name == "udmabuf" && err != nil {
				unsupported(t, err.Error())
			}
			test(t, open())
		})
	}
}

func newRegion(t *testing.T, p Provider, size int64) Region {
	t.Helper()
	r, err := p.Alloc(transport.Domain{UID: 7, Device: 3}, size)
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

// word is what the tests store at byte offset off of a region.
func word(off int) uint64 { return 0xD1<<56 | uint64(off) }

func fill(r Region) {
	for off := 0; off < len(r.Bytes()); off += 8 {
		binary.LittleEndian.PutUint64(r.Bytes()[off:], word(off))
	}
}

func checkFill(t *testing.T, got []byte) {
	t.Helper()
	if len(got) != 1<<20 {
		t.Fatalf("%d bytes, want %d", len(got), 1<<20)
	}
	for off := 0; off < len(got); off += 8 {
		if w := binary.LittleEndian.Uint64(got[off:]); w != word(off) {
			t.Fatalf("word at %d is %#x, want %#x", off, w, word(off))
		}
	}
}

func TestOpen(t *testing.T) {
	p, err := Open("memfd")
	if err != nil {
		t.Fatal(err)
	}
	if p.Name() != "memfd" || !p.CPU() {
		t.Errorf("provider is %q, CPU %v", p.Name(), p.CPU())
	}
	_, err = Open("hbm9")
	if !errors.Is(err, ErrUnknown) || !strings.Contains(err.Error(), `"hbm9"`) || !strings.Contains(err.Error(), "memfd") {
		t.Errorf("unknown provider: %v", err)
	}
}

func TestRegionProperties(t *testing.T) { eachProvider(t, testRegionProperties) }

func testRegionProperties(t *testing.T, p Provider) {
	r := newRegion(t, p, 12345)
	if dom := (transport.Domain{UID: 7, Device: 3}); r.Domain() != dom {
		t.Errorf("domain %v, want %v", r.Domain(), dom)
	}
	if r.Size() != 12345 || len(r.Bytes()) != 12345 {
		t.Errorf("size %d, %d bytes, want 12345", r.Size(), len(r.Bytes()))
	}
	if _, _, ok := r.DMABuf(); ok != (p.Name() == "udmabuf") {
		t.Errorf("has a dma-buf: %v", ok)
	}
	flags, err := unix.FcntlInt(uintptr(r.FD()), unix.F_GETFD, 0)
	if err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("descriptor flags %#x, %v: not close-on-exec", flags, err)
	}
	r.Visible(func(err error) {
		if err != nil {
			t.Error(err)
		}
	})
}

func TestAllocRefusesSizes(t *testing.T) { eachProvider(t, testAllocRefusesSizes) }

func testAllocRefusesSizes(t *testing.T, p Provider) {
	for _, size := range []int64{0, -1} {
		if r, err := p.Alloc(transport.Domain{}, size); !errors.Is(err, ErrSize) {
			t.Errorf("size %d: %v, %v", size, r, err)
		}
	}
}

func TestAllocFailureKeepsNoDescriptor(t *testing.T) {
	eachProvider(t, testAllocFailureKeepsNoDescriptor)
}

func testAllocFailureKeepsNoDescriptor(t *testing.T, p Provider) {
	before := countFDs(t)
	if r, err := p.Alloc(transport.Domain{}, 1<<62); err == nil {
		t.Fatalf("a region of 4 EiB: %v", r)
	}
	if after := countFDs(t); after != before {
		t.Errorf("%d descriptors after the failure, %d before", after, before)
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

func TestCopyInAndGather(t *testing.T) { eachProvider(t, testCopyInAndGather) }

func testCopyInAndGather(t *testing.T, p Provider) {
	r := newRegion(t, p, 8192)
	check := func(want error) func(error) {
		return func(err error) {
			t.Helper()
			if !errors.Is(err, want) {
				t.Errorf("got %v, want %v", err, want)
			}
		}
	}
	r.CopyIn(4096, []byte("tail"), check(nil))
	r.CopyIn(8188, []byte("last"), check(nil))
	r.CopyIn(8189, []byte("last"), check(transport.ErrRange))
	r.CopyIn(-1, []byte("x"), check(transport.ErrRange))
	r.Gather(0, []transport.Span{{Mem: r, Off: 8188, Len: 4}, {Mem: r, Off: 4096, Len: 4}}, check(nil))
	if got := r.Bytes()[:8]; !bytes.Equal(got, []byte("lasttail")) {
		t.Errorf("gathered %q", got)
	}
}

func TestPrepareMakesPagesPresent(t *testing.T) { eachProvider(t, testPrepareMakesPagesPresent) }

func testPrepareMakesPagesPresent(t *testing.T, p Provider) {
	r := newRegion(t, p, 1<<20)
	r.Bytes()[0] = 1 // proves below that Prepare keeps what is there
	r.Prepare(100, 3*4096)
	r.Prepare(1<<20-1, 1<<40)
	r.Prepare(-5, 1)
	r.Prepare(1<<30, 4096)
	var st unix.Stat_t
	if err := unix.Fstat(r.FD(), &st); err != nil {
		t.Fatal(err)
	}
	want := int64(5) // the first four and the last
	if p.Name() == "udmabuf" {
		want = 256 // all, since the dma-buf is made
	}
	if pages := st.Blocks * 512 / 4096; pages != want && !oldKernel(r) {
		t.Errorf("%d pages are present, want %d", pages, want)
	}
	if r.Bytes()[0] != 1 {
		t.Error("Prepare changed the region's bytes")
	}
}

// oldKernel reports whether the kernel has no MADV_POPULATE_WRITE.
func oldKernel(r Region) bool {
	return errors.Is(unix.Madvise(r.Bytes(), unix.MADV_POPULATE_WRITE), unix.EINVAL)
}

func TestClose(t *testing.T) { eachProvider(t, testClose) }

func testClose(t *testing.T, p Provider) {
	before := countFDs(t)
	r := newRegion(t, p, 4096)
	for range 2 {
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if r.FD() != -1 || r.Bytes() != nil {
		t.Errorf("after Close: fd %d, %d bytes", r.FD(), len(r.Bytes()))
	}
	r.Prepare(0, 4096)
	if after := countFDs(t); after != before {
		t.Errorf("%d descriptors after Close, %d before", after, before)
	}
}

// TestLeakAlarm drops a region without Close: the alarm must be logged and the
// descriptor, which a client may have, must stay.
func TestLeakAlarm(t *testing.T) { eachProvider(t, testLeakAlarm) }

func testLeakAlarm(t *testing.T, p Provider) {
	said := make(chan string, 1)
	old := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(lineTo(said), nil)))
	defer slog.SetDefault(old)
	fd, mem := dropRegion(t, p)
	for {
		runtime.GC()
		select {
		case line := <-said:
			if !strings.Contains(line, "never closed") || !strings.Contains(line, "bytes=4096") {
				t.Errorf("alarm says %q", line)
			}
			if err := errors.Join(unix.Munmap(mem), unix.Close(fd)); err != nil {
				t.Error(err)
			}
			return
		default:
		}
	}
}

func dropRegion(t *testing.T, p Provider) (int, []byte) {
	r, err := p.Alloc(transport.Domain{}, 4096)
	if err != nil {
		t.Fatal(err)
	}
	return r.FD(), r.Bytes()
}

type lineTo chan string

func (l lineTo) Write(p []byte) (int, error) {
	l <- string(p)
	return len(p), nil
}
