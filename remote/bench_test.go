package remote_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

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

func BenchmarkOpenClose(b *testing.B) {
	_, r := mount(b, 1)
	open(b, r, 1) // and waits for the tick of its making
	for b.Loop() {
		f, err := r.Open(b.Context(), "d", name(1), nil)
		if err != nil {
			b.Fatal(err)
		}
		f.Close()
	}
}
