package tcp

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hbmfs/transport"
	"hbmfs/transport/transporttest"
)

// benchTargetEnv names the file that a second process of this test program
// serves, so that the two ends don't share a scheduler.
const benchTargetEnv = "HBMFS_TCP_BENCH_TARGET"

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

func benchTarget() {
	f, err := os.Open(os.Getenv(benchTargetEnv))
	if err != nil {
		panic(err)
	}
	sessions := transporttest.NewSessions()
	sessions.Open(fileSource{f})
	server := NewServer(sessions, transporttest.Ample(), slog.Default())
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(ln.Addr())
	go func() {
		io.Copy(io.Discard, os.Stdin) // until the benchmark ends
		os.Exit(0)
	}()
	for {
		c, err := ln.Accept()
		if err != nil {
			panic(err)
		}
		go server.ServeConn(context.Background(), c, nil)
	}
}

// startBenchTarget starts the second process and returns a session of it.
func startBenchTarget(b *testing.B) transport.Session {
	b.Helper()
	path := b.TempDir() + "/file"
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	for chunk := make([]byte, 1<<20); ; {
		if n, _ := f.Seek(0, io.SeekCurrent); n == benchFileSize {
			break
		}
		if _, err := f.Write(chunk); err != nil {
			b.Fatal(err)
		}
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), benchTargetEnv+"="+path)
	cmd.Stderr = os.Stderr
	stdin, _ := cmd.StdinPipe()
	stdout, _ := cmd.StdoutPipe()
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		stdin.Close()
		cmd.Wait()
	})
	addr, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	s := transporttest.NewSessions().Open(nil)
	s.Addr = strings.TrimSpace(addr)
	return s
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

// BenchmarkFetch keeps a number of requests under way, each into its own place
// of a memory that was touched before.
func BenchmarkFetch(b *testing.B) {
	session := startBenchTarget(b)
	for _, size := range []int{1 << 20, 256 << 10, 4 << 10} {
		for _, under := range []int{4, 16, 64} {
			for _, sums := range []bool{false, true} {
				b.Run(fmt.Sprintf("size=%d/outstanding=%d/checksums=%t", size, under, sums), func(b *testing.B) {
					s := session
					s.Connections, s.Checksums, s.Timeout = 4, sums, 10*time.Second
					benchFetch(b, s, size, under)
				})
			}
		}
	}
}

func benchFetch(b *testing.B, s transport.Session, size, under int) {
	link, err := New(false).Dial(b.Context(), s)
	if err != nil {
		b.Fatal(err)
	}
	defer link.Close()
	mem := mapping(b, 64<<20)
	attach(b, link, mem)
	ended := make(chan *transport.Request, under)
	reqs := make([]transport.Request, under)
	for i := range reqs {
		r := &reqs[i]
		r.Dst = transport.Span{Mem: mem, Off: int64(i * size), Len: int64(size)}
		r.To = transporttest.Done(func(res transport.Result) {
			if res.Err != nil {
				panic(res.Err)
			}
			ended <- r
		})
	}
	off := int64(0)
	stride := max(int64(size), 64<<10) + 4096
	one := make([]*transport.Request, 1)
	issue := func(r *transport.Request) {
		off = (off + stride) % (benchFileSize - int64(size))
		r.Off, one[0] = off, r
		if n, err := link.Submit(one); n != 1 {
			b.Fatalf("not taken: %v", err)
		}
	}
	b.SetBytes(int64(size))
	b.ReportAllocs()
	runtime.GC()
	b.ResetTimer()
	issued := 0
	for ; issued < min(under, b.N); issued++ {
		issue(&reqs[issued])
	}
	for done := 0; done < b.N; done++ {
		r := <-ended
		if issued < b.N {
			issued++
			issue(r)
		}
	}
}
