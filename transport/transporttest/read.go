package transporttest

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"hbmfs/fs/uapi"
	"hbmfs/transport"
)

// letGo is how long after its context's end a plain read may return, and as much
// again for a host that is busy.
const letGo = 2 * 100 * time.Millisecond

// read reads and checks; the caller releases the buffer, if there is one.
func (f *fixture) read(file transport.FileRef, off int64, n int) (transport.Buffer, transport.Result) {
	b, r := f.link.Read(f.t.Context(), file, off, n)
	switch {
	case (b == nil) != (r.Err != nil):
		f.t.Errorf("%d bytes at %d: a buffer %v, and error %v", n, off, b, r.Err)
	case b == nil:
	case len(b.Bytes()) != n:
		f.t.Errorf("%d bytes at %d: %d came", n, off, len(b.Bytes()))
	default:
		if err := Check(b.Bytes(), file, off); err != nil {
			f.t.Error(err)
		}
		if r.Path == uapi.PathNone || r.Path.Direct() || r.HostCopies != 1 || r.DeviceCopies != 0 {
			f.t.Errorf("a plain read that came by %+v", r)
		}
	}
	return b, r
}

// readWell is read that must succeed, and gives the buffer back.
func (f *fixture) readWell(file transport.FileRef, off int64, n int) {
	b, r := f.read(file, off, n)
	if r.Err != nil {
		f.t.Errorf("%d bytes at %d: %v", n, off, r.Err)
		return
	}
	b.Release()
}

func testRead(t *testing.T, h Harness) {
	f := setUp(t, h)
	const size = 2*extent + 13
	file := f.source.Add(1, size)
	for _, n := range []int{
		1, 7, 8, 511, 4095, 4096, 4097, 16<<10 - 1, 16 << 10, 16<<10 + 1, 64<<10 - 24, 64 << 10, 64<<10 + 1, extent, extent + 1,
	} {
		for _, off := range []int64{0, 1, 7, 11, 12, 4095, size - int64(n)} {
			f.readWell(file, off, n)
		}
	}
	largest := f.source.Add(2, 9*extent)
	f.readWell(largest, 0, 9*extent)
	plain := setUp(t, h, func(s *transport.Session) { s.Checksums = false })
	plain.source.Add(1, size)
	for _, n := range []int{1, 4096, extent} {
		plain.readWell(file, 5, n)
	}
}

// testReadErrors reads what can't be had, or can't be asked for.
func testReadErrors(t *testing.T, h Harness) {
	f := setUp(t, h)
	healthy, changed, broken := f.source.Add(1, extent), f.source.Add(2, extent), f.source.Add(3, extent)
	f.source.Change(2)
	f.source.Fail(3, transport.ErrSource)
	for range 3 { // a transport may have more than one way
		for _, c := range []struct {
			file transport.FileRef
			off  int64
			n    int
			want error
		}{
			{changed, 0, 4096, transport.ErrStale},
			{broken, 0, 64 << 10, transport.ErrSource},
			{transport.FileRef{Handle: 99}, 0, 8, transport.ErrUnknownFile},
			{healthy, extent - 1, 2, transport.ErrRange},
			{healthy, -1, 8, transport.ErrRange},
			{healthy, 1<<63 - 2, 4096, transport.ErrRange},
			{healthy, 0, 0, transport.ErrRange},
			{healthy, 0, -1, transport.ErrRange},
			{healthy, 0, 1 << 30, transport.ErrRange},
		} {
			_, r := f.read(c.file, c.off, c.n)
			f.failed(r, c.want)
		}
		f.readWell(healthy, 1, 4096)
	}
}

// testReadConcurrent has many readers, who keep some of what they read, beside
// requests.
func testReadConcurrent(t *testing.T, h Harness) {
	f := setUp(t, h)
	const size = 8 * extent
	files := []transport.FileRef{f.source.Add(1, size), f.source.Add(2, size), f.source.Add(3, size)}
	f.source.Chill(3)
	var wg sync.WaitGroup
	for reader := range 48 {
		rng := rand.New(rand.NewPCG(3, uint64(reader)))
		wg.Go(func() {
			for i := range 30 {
				file, n := files[rng.IntN(len(files))], 1+rng.IntN(8192)
				if i%3 == 0 {
					n = 1 + rng.IntN(512<<10)
				}
				off := rng.Int64N(size - int64(n))
				if reader < 4 {
					f.quietly(f.host(file, off, int64(n)))
					continue
				}
				f.readWell(file, off, n)
			}
		})
	}
	wg.Wait()
	if s := f.link.Stats(); s.InFlight != 0 || s.Errors != 0 || s.Requests != 48*30 {
		t.Errorf("%+v", s)
	}
}

// testReadCanceled ends the wait for storage that stalls. What comes later must
// not be in a buffer that someone else has by then.
func testReadCanceled(t *testing.T, h Harness) {
	for _, n := range []int{4096, 64 << 10} {
		f := setUp(t, h)
		slow, other := f.source.Add(1, extent), f.source.Add(2, extent)
		for range 3 {
			f.readWell(other, 0, n)
		}
		hold := f.source.Hold(1)
		defer hold.Release()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan transport.Result)
		go func() {
			_, r := f.link.Read(ctx, slow, 0, n)
			ended <- r
		}()
		await(t, hold)
		began := time.Now()
		cancel()
		r := <-ended
		if took := time.Since(began); !errors.Is(r.Err, context.Canceled) || took > letGo {
			t.Errorf("%v after %v", r.Err, took)
		}
		kept := f.keep(other, n)
		hold.Release()
		for range 20 {
			f.readWell(other, 0, n)
		}
		f.link.Close()
		kept.untouched(t)
	}
}

// kept are buffers that a caller has and wrote to.
type kept []transport.Buffer

// keep reads more buffers than were ever in use, and scribbles on them.
func (f *fixture) keep(file transport.FileRef, n int) (all kept) {
	for until := time.Now().Add(patience); len(all) < 4; {
		b, r := f.read(file, 0, n)
		switch {
		case r.Err == nil:
			Scribble(b.Bytes())
			all = append(all, b)
			until = time.Now().Add(patience)
		case errors.Is(r.Err, transport.ErrConnLost): // the link may not have recovered
			breathe(f.t, until)
		default:
			f.t.Fatal(r.Err)
		}
	}
	return all
}

func (k kept) untouched(t *testing.T) {
	t.Helper()
	for _, b := range k {
		if !Scribbled(b.Bytes()) {
			t.Error("a buffer was written to after its read had ended")
		}
		b.Release()
	}
}

// testReadStalls has storage that never answers: whoever waits is told in time.
func testReadStalls(t *testing.T, h Harness) {
	f := setUp(t, h, func(s *transport.Session) { s.Timeout = stallTimeout })
	file := f.source.Add(1, extent)
	hold := f.source.Hold(1)
	defer hold.Release()
	_, r := f.read(file, 0, 4096)
	f.failed(r, transport.ErrConnLost, transport.ErrStalled)
}

// testReadClosed closes a link under readers, some of whom have what they read.
func testReadClosed(t *testing.T, h Harness) {
	f := setUp(t, h)
	slow, file := f.source.Add(1, extent), f.source.Add(2, extent)
	had, r := f.read(file, 5, 64<<10)
	if r.Err != nil {
		t.Fatal(r.Err)
	}
	hold := f.source.Hold(1)
	defer hold.Release()
	ended := make(chan transport.Result, 6)
	for range cap(ended) {
		go func() {
			b, r := f.read(slow, 0, 4096)
			if b != nil {
				b.Release()
			}
			ended <- r
		}()
	}
	await(t, hold)
	closed := make(chan error)
	go func() { closed <- f.link.Close() }()
	for {
		_, r := f.link.Read(t.Context(), transport.FileRef{Handle: 99}, 0, 8)
		if errors.Is(r.Err, transport.ErrClosed) {
			break
		}
	}
	hold.Release() // for a transport that can't give up a read under way
	if err := <-closed; err != nil {
		t.Error(err)
	}
	for range cap(ended) {
		if r := <-ended; r.Err != nil {
			f.failed(r, transport.ErrClosed)
		}
	}
	if err := Check(had.Bytes(), file, 5); err != nil {
		t.Errorf("a buffer of a link that was closed: %v", err)
	}
	had.Release()
	if s := f.link.Stats(); s.InFlight != 0 {
		t.Errorf("%+v", s)
	}
}

// testReadFault has the peer fail one plain read. Afterwards nothing may write to
// its buffer, whatever the peer still sends, and the link must work again by
// itself.
func testReadFault(t *testing.T, h Harness, fault Fault, want []error, n int) {
	// Several reads must succeed later, on a slow host too.
	f, file, heal := setUpFaulty(t, h, fault, 5*stallTimeout)
	for loses := slices.Contains(want, transport.ErrConnLost); ; {
		_, r := f.read(file, 0, n)
		f.failed(r, want...)
		// A read that is overdue may not have got to a connection, on a busy host.
		if !loses || f.link.Stats().Lost > 0 {
			break
		}
	}
	heal()
	f.recovered(file)
	kept := f.keep(file, n)
	f.link.Close()
	kept.untouched(t)
}
