package inproc

import (
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"hbmfs/transport"
	"hbmfs/transport/transporttest"
)

const benchFileSize = 1 << 30

// fileSource serves one file, which lies in the page cache.
type fileSource struct{ f *os.File }

func (s fileSource) TryRead(_ transport.FileRef, off int64, dst []byte) error {
	_, err := s.f.ReadAt(dst, off)
	return err
}

func (s fileSource) Read(_ context.Context, file transport.FileRef, off int64, dst []byte) error {
	return s.TryRead(file, off, dst)
}

func (fileSource) Call(_ context.Context, ask, dst []byte) (int, error) { return copy(dst, ask), nil }

func benchFile(b *testing.B) *os.File {
	b.Helper()
	f, err := os.Create(b.TempDir() + "/file")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { f.Close() })
	chunk := make([]byte, 1<<20)
	for off := int64(0); off < benchFileSize; off += int64(len(chunk)) {
		if _, err := f.WriteAt(chunk, off); err != nil {
			b.Fatal(err)
		}
	}
	return f
}

// mapping is a memfd mapped into this process, as device memory is.
func mapping(b *testing.B, size int) *transporttest.Mapped {
	b.Helper()
	fd, err := unix.MemfdCreate("bench", unix.MFD_CLOEXEC)
	if err != nil {
		b.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Ftruncate(fd, int64(size)); err != nil {
		b.Fatal(err)
	}
	m, err := unix.Mmap(fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { unix.Munmap(m) })
	return (*transporttest.Mapped)(&m)
}

// BenchmarkFetch compares the link with as many goroutines that pread as it has
// workers, from the page cache into a mapping that was touched before.
func BenchmarkFetch(b *testing.B) {
	f, mem := benchFile(b), mapping(b, 64<<20)
	for _, size := range []int{1 << 20, 64 << 10, 4 << 10} {
		b.Run(fmt.Sprintf("pread/size=%d", size), func(b *testing.B) { benchPread(b, f, mem, size) })
		b.Run(fmt.Sprintf("inproc/size=%d", size), func(b *testing.B) { benchLink(b, f, mem, size) })
	}
}

func benchPread(b *testing.B, f *os.File, mem *transporttest.Mapped, size int) {
	b.SetBytes(int64(size))
	var next atomic.Int64
	var wg sync.WaitGroup
	for i := range workers() {
		wg.Go(func() {
			for n := next.Add(1); n <= int64(b.N); n = next.Add(1) {
				if _, err := f.ReadAt((*mem)[i*size:][:size], n*int64(size)%benchFileSize); err != nil {
					b.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func benchLink(b *testing.B, f *os.File, mem *transporttest.Mapped, size int) {
	sessions := transporttest.NewSessions()
	link, err := New(sessions).Dial(b.Context(), sessions.Open(fileSource{f}))
	if err != nil {
		b.Fatal(err)
	}
	defer link.Close()
	if _, err := link.Attach(b.Context(), mem); err != nil {
		b.Fatal(err)
	}
	const under = 16
	ended := make(chan *transport.Request, under)
	for i := range under {
		r := &transport.Request{Dst: transport.Span{Mem: mem, Off: int64(i * size), Len: int64(size)}}
		r.To = transporttest.Done(func(res transport.Result) {
			if res.Err != nil {
				b.Error(res.Err)
			}
			ended <- r
		})
		ended <- r
	}
	b.SetBytes(int64(size))
	b.ReportAllocs()
	b.ResetTimer()
	one := make([]*transport.Request, 1)
	for n := range b.N {
		one[0] = <-ended
		one[0].Off = int64(n) * int64(size) % benchFileSize
		if n, err := link.Submit(one); n != 1 {
			b.Fatalf("not taken: %v", err)
		}
	}
	for range under {
		<-ended
	}
}
