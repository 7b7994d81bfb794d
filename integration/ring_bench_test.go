package integration

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"hbmfs/fs/client"
)

// BenchmarkResident is FETCH of 4 KiB that are in device memory, each with the RELEASE of
// one before: by ioctl, and by a ring with one and 64 under way.
func BenchmarkResident(b *testing.B) {
	src := b.TempDir()
	if err := os.WriteFile(filepath.Join(src, "1"), make([]byte, 1<<20), 0o644); err != nil {
		b.Fatal(err)
	}
	dir := mountForBench(b, src)
	m, err := client.OpenMount(dir)
	if err != nil {
		b.Fatal(err)
	}
	defer m.Close()
	f, err := m.Open(filepath.Join(dir, "1"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	b.Run("ioctl", func(b *testing.B) { fetchByIoctl(b, f) })
	b.Run("ring depth 1", func(b *testing.B) { fetchByRing(b, m, f, 1) })
	b.Run("ring depth 64", func(b *testing.B) { fetchByRing(b, m, f, 64) })
}

func fetchByIoctl(b *testing.B, f *client.File) {
	var l client.Lease
	b.ReportAllocs()
	for b.Loop() {
		if err := f.FetchInto(context.Background(), &l, 8192, 4096, client.FetchOptions{Release: l.Handle, MaxSegments: 1}); err != nil {
			b.Fatal(err)
		}
	}
}

func fetchByRing(b *testing.B, m *client.Mount, f *client.File, depth int) {
	r, err := m.NewRing(client.RingOptions{Entries: depth})
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	file, err := r.Register(f)
	if err != nil {
		b.Fatal(err)
	}
	ops, done := make([]client.Op, depth), make([]client.Completion, depth)
	for i := range ops {
		ops[i] = client.Op{Kind: client.OpFetch, Tag: uint64(i), File: file, Offset: 8192, Length: 4096}
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; i < b.N; i += depth {
		if n, err := r.Submit(ops); n != depth {
			b.Fatal(n, err)
		}
		for left := depth; left > 0; {
			n, err := r.Wait(context.Background(), done[:left])
			if err != nil {
				b.Fatal(err)
			}
			left -= n
			for _, c := range done[:n] {
				if c.Err != nil {
					b.Fatal(c.Err)
				}
				ops[c.Tag].Release = c.Handle
			}
		}
	}
}

// mountForBench mounts a directory until the benchmark ends.
func mountForBench(b *testing.B, src string) string {
	b.Helper()
	dir := filepath.Join(b.TempDir(), "mnt")
	if err := os.Mkdir(dir, 0o755); err != nil {
		b.Fatal(err)
	}
	if out, err := exec.Command(bin, "mount", src, dir).CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	b.Cleanup(func() {
		if out, err := exec.Command(bin, "umount", dir).CombinedOutput(); err != nil {
			b.Errorf("%v: %s", err, out)
		}
	})
	return dir
}
