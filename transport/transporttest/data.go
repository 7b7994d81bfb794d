package transporttest

import (
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"sync"
	"testing"

	"hbmfs/fs/uapi"
	"hbmfs/transport"
)

const extent = 1 << 20

func testPlan(t *testing.T, h Harness) {
	f := setUp(t, h)
	dev := NewFakeDevice(t, 4096)
	for _, mem := range []transport.Memory{NewMapped(4096), dev} {
		p, err := f.transport.Plan(mem)
		if err != nil || p.Path == uapi.PathNone || p.MaxLen < extent || p.Align < 1 || p.Batch < 2 {
			t.Errorf("plan for %T: %+v, %v", mem, p, err)
		}
	}
	dev.Revoke()
	if _, err := f.transport.Plan(dev); !errors.Is(err, transport.ErrUnavailable) {
		t.Errorf("plan for revoked memory: %v", err)
	}
}

// testSizes fetches sizes around every boundary a transport may have, in the
// middle of a memory whose other bytes must stay.
func testSizes(t *testing.T, h Harness) {
	f := setUp(t, h)
	file := f.source.Add(1, 16*extent)
	const margin = 4096
	for _, n := range []int64{
		0, 1, 7, 8, 511, 4095, 4096, 4097, 16<<10 - 1, 16 << 10, 16<<10 + 1, 64<<10 - 24, 64 << 10, 64<<10 + 1,
		extent - 1, extent, extent + 1, 3*extent + 4096, 9 * extent,
	} {
		around := f.host(file, 0, n+2*margin)
		dst := around.Dst
		fl := request(file, 0, transport.Span{Mem: dst.Mem, Off: dst.Off + margin, Len: n})
		f.good(fl, f.fetch(fl))
		if mem := around.bytes(); !Scribbled(mem[:margin]) || !Scribbled(mem[margin+n:]) {
			t.Fatalf("%d bytes: written outside of the destination", n)
		}
	}
}

func testUnaligned(t *testing.T, h Harness) {
	f := setUp(t, h)
	const size = 2*extent + 13
	file := f.source.Add(1, size)
	var flights []*flight
	for _, off := range []int64{0, 1, 7, 4095, 4097, extent - 1, extent + 3} {
		for _, n := range []int64{1, 3, 4099, size - off} {
			n = min(n, size-off)
			f.used += 5 // no destination is aligned
			flights = append(flights, f.host(file, off, n))
		}
	}
	f.submit(flights...)
	for _, fl := range flights {
		f.good(fl, f.wait(fl))
	}
	f.once(flights...)
}

// testCold mixes files that are in memory with ones that are not, so that
// answers overtake each other.
func testCold(t *testing.T, h Harness) {
	f := setUp(t, h)
	warm, cold := f.source.Add(1, 64*extent), f.source.Add(2, 64*extent)
	f.source.Chill(2)
	var flights []*flight
	for i := range int64(40) {
		flights = append(flights, f.host(warm, i*extent, 4096), f.host(cold, i*extent, 4096+i*10007), f.host(cold, i*8, 8))
	}
	f.submit(flights...)
	for _, fl := range flights {
		f.good(fl, f.wait(fl))
	}
}

func testSourceErrors(t *testing.T, h Harness) {
	f := setUp(t, h)
	const size = extent
	healthy, changed, broken := f.source.Add(1, size), f.source.Add(2, size), f.source.Add(3, size)
	f.source.Change(2)
	f.source.Fail(3, fmt.Errorf("fake disk: %w", transport.ErrSource))
	for _, c := range []struct {
		what string
		file transport.FileRef
		off  int64
		want error
	}{
		{"another version", changed, 0, transport.ErrStale},
		{"past the end", healthy, size, transport.ErrRange},
		{"across the end", healthy, size - 1, transport.ErrRange},
		{"bad disk", broken, 0, transport.ErrSource},
		{"no such handle", transport.FileRef{Handle: 99}, 0, transport.ErrUnknownFile},
	} {
		for _, n := range []int64{4096, 64 << 10} {
			t.Log(c.what, n)
			f.failed(f.fetch(f.host(c.file, c.off, n)), c.want)
		}
	}
	f.source.Fail(3, errors.New("fake disk: an error of no promised kind"))
	f.failed(f.fetch(f.host(broken, 0, 8)), transport.ErrSource)
	fl := f.host(healthy, 0, size)
	f.good(fl, f.fetch(fl))
}

// testBadRequests submits what can't be carried; each is taken, and fails alone.
func testBadRequests(t *testing.T, h Harness) {
	f := setUp(t, h)
	file := f.source.Add(1, extent)
	mem := f.mapped
	plan, err := f.transport.Plan(mem)
	if err != nil {
		t.Fatal(err)
	}
	fine := f.host(file, 0, 4096)
	f.submit(fine)
	for _, fl := range []*flight{
		request(file, 0, transport.Span{Mem: mem, Off: 1, Len: mappedSize}),
		request(file, 0, transport.Span{Mem: mem, Off: -1, Len: 1}),
		request(file, 0, transport.Span{Mem: mem, Len: -1}),
		request(file, 0, transport.Span{}),
		request(file, -1, transport.Span{Mem: mem, Len: 1}),
		request(file, 1<<63-2, transport.Span{Mem: mem, Len: 4096}),
		f.host(file, 0, plan.MaxLen+1),
	} {
		f.failed(f.fetch(fl), transport.ErrRange)
	}
	f.good(fine, f.wait(fine))
}

// testConcurrent has many readers fetch at random; every word must be the
// reader's own.
func testConcurrent(t *testing.T, h Harness) {
	f := setUp(t, h)
	const size = 8 * extent
	files := []transport.FileRef{f.source.Add(1, size), f.source.Add(2, size), f.source.Add(3, size)}
	f.source.Chill(3)
	var wg sync.WaitGroup
	for reader := range 8 {
		rng := rand.New(rand.NewPCG(1, uint64(reader)))
		wg.Go(func() {
			for i := range 40 {
				n := 1 + rng.Int64N(256<<10)
				if i%2 == 0 {
					n = 1 + rng.Int64N(8192)
				}
				fl := f.host(files[rng.IntN(len(files))], rng.Int64N(size-n), n)
				if !f.quietly(fl) {
					return
				}
			}
		})
	}
	wg.Wait()
}

// quietly is fetch and good for goroutines other than the test's.
func (f *fixture) quietly(fl *flight) bool {
	if err := f.insist([]*flight{fl}); err != nil {
		f.t.Error(err)
		return false
	}
	r := <-fl.ended
	if r.Err == nil {
		r.Err = Check(fl.bytes(), fl.File, fl.Off)
	}
	if r.Err != nil {
		f.t.Error(r.Err)
	}
	return r.Err == nil
}

func testChecksums(t *testing.T, h Harness) {
	for _, on := range []bool{true, false} {
		f := setUp(t, h, func(s *transport.Session) { s.Checksums = on })
		file := f.source.Add(1, extent)
		for _, n := range []int64{0, 100, extent} {
			fl := f.host(file, 0, n)
			r := f.fetch(fl)
			f.good(fl, r)
			if r.HasCRC != (on && h.Checksums) {
				t.Errorf("has a checksum: %t; asked for: %t, carried: %t", r.HasCRC, on, h.Checksums)
			}
			if want := crc32.Checksum(fl.bytes(), crc32.MakeTable(crc32.Castagnoli)); r.HasCRC && r.CRC != want {
				t.Errorf("crc32c %#08x, of the bytes: %#08x", r.CRC, want)
			}
		}
	}
}
