package device

import (
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
	"hbmfs/transport/transporttest"
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
				unsupported(t, err.Error()+" (make lab has it)")
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

// TestDescriptor: what is handed out does not go to programs that this one runs.
func TestDescriptor(t *testing.T) {
	eachProvider(t, func(t *testing.T, p Provider) {
		r := newRegion(t, p, 4096)
		flags, err := unix.FcntlInt(uintptr(r.FD()), unix.F_GETFD, 0)
		if err != nil || flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("descriptor flags %#x, %v: not close-on-exec", flags, err)
		}
		if _, _, ok := r.DMABuf(); ok != (p.Name() == "udmabuf") {
			t.Errorf("has a dma-buf: %v", ok)
		}
	})
}

func countFDs(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
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

// TestFaultIsError: where pages of a region can't be had any more, who copies there is
// told, and lives.
func TestFaultIsError(t *testing.T) {
	fd, err := unix.MemfdCreate("cut", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	size := int64(os.Getpagesize())
	if err := unix.Ftruncate(fd, size); err != nil {
		t.Fatal(err)
	}
	r, own, err := importMapping("memfd", transport.Domain{}, fd, 0, size)
	r.fd = own
	defer r.Close()
	if err := errors.Join(err, unix.Ftruncate(fd, 0)); err != nil {
		t.Fatal(err)
	}
	from := transporttest.NewMapped(64)
	for what, copyTo := range map[string]func(done func(error)){
		"gather":  func(done func(error)) { r.Gather(0, []transport.Span{{Mem: from, Len: 64}}, done) },
		"copy in": func(done func(error)) { r.CopyIn(0, *from, done) },
	} {
		copyTo(func(err error) {
			if !errors.Is(err, ErrHoles) {
				t.Errorf("%s: %v", what, err)
			}
		})
	}
}
