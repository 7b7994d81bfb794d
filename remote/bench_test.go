package remote_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"hbmfs/remote"
)

// BenchmarkRandomRead is plain reads of 4 KiB over loopback, four at a time for
// each processor.
func BenchmarkRandomRead(b *testing.B) {
	_, r := mount(b, 1)
	f := open(b, r, 1)
	b.SetBytes(4096)
	b.ReportAllocs()
	b.SetParallelism(4)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			buf, err := f.Read(context.Background(), rand.Int64N(fileSize/4096)*4096, 4096)
			if err != nil {
				b.Error(err)
				return
			}
			buf.Release()
		}
	})
}

// BenchmarkTree lists every directory of a tree, one after the other.
func BenchmarkTree(b *testing.B) {
	const dirs, files = 1500, 10
	n := startNode(b, nil)
	for d := range dirs {
		dir := filepath.Join(n.dir, fmt.Sprint(d))
		if err := os.Mkdir(dir, 0o755); err != nil {
			b.Fatal(err)
		}
		for i := range files {
			if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), nil, 0o644); err != nil {
				b.Fatal(err)
			}
		}
	}
	r := connect(b, n.config())
	for b.Loop() {
		if got := walk(b, r, ""); got != dirs*(files+1) {
			b.Fatalf("%d entries", got)
		}
	}
}

func walk(b *testing.B, r *remote.Target, dir string) int {
	entries, _, err := r.List(b.Context(), "d", dir)
	if err != nil {
		b.Fatal(err)
	}
	n := len(entries)
	for _, e := range entries {
		if e.Attr.Mode&0o170000 == 0o040000 {
			n += walk(b, r, filepath.Join(dir, e.Name))
		}
	}
	return n
}

// BenchmarkOpenClose opens and closes files over loopback, one at a time and by 16.
func BenchmarkOpenClose(b *testing.B) {
	eachWay(b, func(ctx context.Context, r *remote.Target, path string) error {
		f, err := r.Open(ctx, "d", path, nil)
		if err == nil {
			f.Close()
		}
		return err
	})
}

// BenchmarkStat is the same of stats.
func BenchmarkStat(b *testing.B) {
	eachWay(b, func(ctx context.Context, r *remote.Target, path string) error {
		_, err := r.Stat(ctx, "d", path)
		return err
	})
}

func eachWay(b *testing.B, do func(context.Context, *remote.Target, string) error) {
	n := startNode(b, nil)
	writeSmall(b, n, manyFiles)
	r := connect(b, n.config())
	for _, callers := range []int{1, 16} {
		b.Run(fmt.Sprint(callers), func(b *testing.B) {
			b.ReportAllocs()
			var next atomic.Int64
			var all sync.WaitGroup
			before := cpuTime(b)
			for range callers {
				all.Go(func() {
					for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
						if err := do(b.Context(), r, fmt.Sprint(i%manyFiles)); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			all.Wait()
			b.ReportMetric(float64((cpuTime(b)-before).Nanoseconds())/float64(b.N), "cpu-ns/op")
		})
	}
}

// cpuTime is what this process has used, mount and target.
func cpuTime(b *testing.B) time.Duration {
	var ru syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &ru); err != nil {
		b.Fatal(err)
	}
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}

const manyFiles = 4096

// writeSmall makes files, and waits until none is new any more.
func writeSmall(b *testing.B, n *node, files int) {
	for i := range files {
		if err := os.WriteFile(n.path(fmt.Sprint(i)), []byte{byte(i)}, 0o644); err != nil {
			b.Fatal(err)
		}
	}
	time.Sleep(50 * time.Millisecond)
}

// BenchmarkReopen is the time from when a mount with many open files has lost its
// session until it can read.
func BenchmarkReopen(b *testing.B) {
	n := startNode(b, nil)
	writeSmall(b, n, manyFiles)
	r := connect(b, n.config())
	var last *remote.File
	for i := range manyFiles {
		f, err := r.Open(b.Context(), "d", fmt.Sprint(i), nil)
		if err != nil {
			b.Fatal(err)
		}
		defer f.Close()
		last = f
	}
	before, sessions := cpuTime(b), int64(1)
	for b.Loop() {
		n.socket.cut()
		sessions++
		until(b, "there is another session", func() bool { return r.Stats().Sessions == sessions })
		buf, err := last.Read(b.Context(), 0, 1)
		if err != nil {
			b.Fatal(err)
		}
		buf.Release()
	}
	b.ReportMetric(float64((cpuTime(b)-before).Nanoseconds())/float64(b.N), "cpu-ns/op")
}
