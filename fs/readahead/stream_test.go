package readahead

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"

	"hbmfs/remote"
	"hbmfs/transport"
)

// TestWholeFile reads files from end to end with READs of any size, of which some
// overtake each other: all bytes are right, and come once.
func TestWholeFile(t *testing.T) {
	for i := range 20 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rnd := rand.New(rand.NewPCG(1, uint64(i)))
				f := newFake(40*mib + rnd.Int64N(2*mib))
				s := newRig(64*mib, 16*mib).open(t, "a", f)
				most := 1 + rnd.Int64N(mib)
				var spans [][2]int64
				for off := int64(0); off < f.size; {
					n := most
					if i%2 == 0 {
						n = 1 + rnd.Int64N(most)
					}
					n = min(max(n, mib/16), f.size-off)
					spans = append(spans, [2]int64{off, n})
					off += n
				}
				for i := 1; i < len(spans); i++ { // neighbours, and not the same ones twice
					if rnd.IntN(3) == 0 {
						spans[i-1], spans[i] = spans[i], spans[i-1]
						i++
					}
				}
				for _, sp := range spans {
					read(t, s, sp[0], sp[1])
					if rnd.IntN(4) == 0 {
						synctest.Wait()
					}
				}
				s.Close()
				brought, used := s.budget.Stats()
				if extra := f.asked.Load() - f.size; extra > f.size/100 || used < f.size*8/10 || used > brought {
					t.Errorf("%d bytes too many, %d brought ahead and %d used, of %d", extra, brought, used, f.size)
				}
			})
		})
	}
}

// TestPieces: a READ that begins in one chunk and ends in the next, or beyond all.
func TestPieces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(64 * mib)
		s := newRig(2*mib, 0).open(t, "", f)
		stream(t, s, 0, 2) // ahead: 2 to 4
		synctest.Wait()
		f.reads.Store(0)
		for _, c := range []struct{ off, pieces, reads int64 }{
			{2*mib + mib/2, 2, 0}, {3*mib + mib/2, 2, 1}, {20 * mib, 1, 1},
		} {
			var got Bytes
			if err := s.Read(t.Context(), c.off, mib, &got); err != nil {
				t.Fatal(err)
			}
			check(t, s, &got, c.off, mib)
			if reads := f.reads.Swap(0); int64(len(got.Pieces())) != c.pieces || reads < c.reads {
				t.Errorf("at %d: %d pieces, %d reads", c.off, len(got.Pieces()), reads)
			}
			got.Release()
		}
	})
}

// TestRandomReads cost nothing: a read of the file each, and no allocation.
func TestRandomReads(t *testing.T) {
	for name, s := range map[string]func(*rig, *fakeFile) *Stream{
		"settled":   func(r *rig, f *fakeFile) *Stream { return r.open(t, "a", f) },
		"unsettled": func(r *rig, f *fakeFile) *Stream { s := new(Stream); s.Init(r.Budget, "a", f, false); return s },
	} {
		f, r := newFake(1024*mib), newRig(64*mib, 16*mib)
		s := s(r, f)
		var got Bytes
		rnd := rand.New(rand.NewPCG(1, 2))
		read := func() {
			if s.Read(t.Context(), rnd.Int64N(f.size>>12)<<12, 4096, &got) != nil {
				t.Fatal("an error")
			}
			got.Release()
		}
		allocs := testing.AllocsPerRun(1000, read)
		if f.reads.Load() != 1001 || f.asked.Load() != 1001*4096 || allocs != 0 && !raceEnabled {
			t.Errorf("%s: %d reads of %d bytes, %v allocations each", name, f.reads.Load(), f.asked.Load(), allocs)
		}
		s.Close()
	}
}

// TestUnsettled: what may change unnoticed is not read ahead.
func TestUnsettled(t *testing.T) {
	f, r := newFake(16*mib), newRig(64*mib, 16*mib)
	s := new(Stream)
	s.Init(r.Budget, "a", f, false)
	stream(t, s, 0, 16)
	if f.reads.Load() != 16 {
		t.Errorf("%d reads", f.reads.Load())
	}
	s.Close()
}

// TestSteadyStream allocates nothing for a READ.
func TestSteadyStream(t *testing.T) {
	if raceEnabled {
		t.Skip("unsupported: the race detector makes pools forget")
	}
	f := newFake(1 << 40)
	s := newRig(64*mib, 16*mib).open(t, "a", f)
	stream(t, s, 0, 16)
	var got Bytes
	off := int64(16 * mib)
	if allocs := testing.AllocsPerRun(200, func() {
		if s.Read(t.Context(), off, mib, &got) != nil {
			t.Fatal("an error")
		}
		got.Release()
		off += mib
	}); allocs >= 1 {
		t.Errorf("%v allocations", allocs)
	}
	if _, used := s.budget.Stats(); used < 200*mib {
		t.Errorf("only %d bytes were read ahead of their READ", used)
	}
}

// TestChange: once the file has changed no READ gets a byte of before, whether the
// stream was told yet or not.
func TestChange(t *testing.T) {
	for _, told := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			f := newFake(64 * mib)
			s := newRig(64*mib, 16*mib).open(t, "a", f)
			stream(t, s, 0, 8)
			synctest.Wait()
			if f.lent.Load() != 8 {
				t.Fatalf("%d chunks are ahead", f.lent.Load())
			}
			f.stale.Store(true)
			if told {
				s.Stop()
				if f.lent.Load() != 0 {
					t.Errorf("%d chunks outlive the change", f.lent.Load())
				}
			}
			for i := range int64(20) {
				var got Bytes
				if err := s.Read(t.Context(), (8+i)*mib, mib, &got); !errors.Is(err, transport.ErrStale) || got.Len() != 0 {
					t.Fatalf("%d bytes of before, %v", got.Len(), err)
				}
			}
		})
	}
}

// TestChangeWhileReading: what is under way when the file changes is dropped.
func TestChangeWhileReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(64 * mib)
		s := newRig(64*mib, 16*mib).open(t, "a", f)
		stream(t, s, 0, 1)
		f.hold.Store(0)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 2)
		for i := range int64(2) {
			go func() { // the first is plain and waits; the other waits for a chunk
				var got Bytes
				ended <- s.Read(ctx, (1+i)*mib, mib, &got)
				got.Release()
			}()
			synctest.Wait()
		}
		s.Stop() // the second is then read plainly
		synctest.Wait()
		if f.lent.Load() != 0 || len(ended) != 0 {
			t.Errorf("%d chunks are left, %d reads ended", f.lent.Load(), len(ended))
		}
		cancel()
		for range 2 {
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		}
	})
}

// TestFailure: what fails ahead is read plainly, and only what fails there is the
// reader's error.
func TestFailure(t *testing.T) {
	errTest := errors.New("fake: no good")
	for times, want := range map[int]error{1: nil, 1000: errTest} {
		synctest.Test(t, func(t *testing.T) {
			f := newFake(64 * mib)
			s := newRig(64*mib, 16*mib).open(t, "a", f)
			left := times
			f.fails = func(off int64) error {
				if off != 5*mib || left == 0 {
					return nil
				}
				left--
				return errTest
			}
			for i := range int64(64) {
				synctest.Wait()
				var got Bytes
				err := s.Read(t.Context(), i*mib, mib, &got)
				if i == 5 && !errors.Is(err, want) || i != 5 && err != nil {
					t.Fatalf("%d: %v", i, err)
				}
				if err == nil {
					check(t, s, &got, i*mib, mib)
				}
				got.Release()
			}
			if brought, used := s.budget.Stats(); used < 40*mib || brought-used > maxAhead {
				t.Errorf("%d brought, %d used", brought, used)
			}
		})
	}
}

// TestNoAnswer: where nobody says whether the file changed, the READ is what it
// would be without chunks.
func TestNoAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(64 * mib)
		s := newRig(64*mib, 16*mib).open(t, "a", f)
		stream(t, s, 0, 8)
		synctest.Wait()
		f.vouch = func(context.Context) error { return transport.ErrConnLost }
		f.reads.Store(0)
		read(t, s, 8*mib, mib)
		if f.reads.Load() == 0 {
			t.Error("it was not read")
		}
		ctx, cancel := context.WithCancel(t.Context())
		f.vouch = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
		go cancel()
		var got Bytes
		if err := s.Read(ctx, 9*mib, mib, &got); !errors.Is(err, context.Canceled) || got.Len() != 0 {
			t.Errorf("interrupted: %v", err)
		}
	})
}

// TestInterrupt: a reader gives up while another waits for the same chunk.
func TestInterrupt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(64 * mib)
		f.hold.Store(2 * mib)
		s := newRig(64*mib, 16*mib).open(t, "a", f)
		stream(t, s, 0, 2)
		ctx, cancel := context.WithCancel(t.Context())
		var first, second Bytes
		ended := make(chan error, 2)
		go func() { ended <- s.Read(ctx, 2*mib, mib/2, &first) }()
		go func() { ended <- s.Read(t.Context(), 2*mib+mib/2, mib/2, &second) }()
		synctest.Wait()
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) || first.Len() != 0 {
			t.Errorf("%d bytes, %v", first.Len(), err)
		}
		close(f.heal)
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		check(t, s, &second, 2*mib+mib/2, mib/2)
		second.Release()
		if _, used := s.budget.Stats(); used != mib/2 {
			t.Errorf("%d bytes were used", used)
		}
	})
}

// TestCloseWhileReading: closing waits for what uses the file, and that ends.
func TestCloseWhileReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(64 * mib)
		f.hold.Store(2 * mib)
		r := newRig(64*mib, 16*mib)
		s := r.open(t, "a", f)
		stream(t, s, 0, 2)
		synctest.Wait()
		if r.limit.Used() != 2*mib {
			t.Fatalf("%d bytes are on their way", r.limit.Used())
		}
		s.Close()
		if r.limit.Used() != 0 {
			t.Errorf("%d bytes are in use", r.limit.Used())
		}
	})
}

// TestLentOutlivesClose: what a reply is written from is nobody else's meanwhile.
func TestLentOutlivesClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(64 * mib)
		r := newRig(64*mib, 16*mib)
		s := r.open(t, "a", f)
		stream(t, s, 0, 4)
		synctest.Wait()
		var got Bytes
		if err := s.Read(t.Context(), 4*mib, mib, &got); err != nil {
			t.Fatal(err)
		}
		s.Stop()
		s.fills.Wait()
		if f.lent.Load() != 1 || r.limit.Used() != mib {
			t.Errorf("%d buffers are lent, %d bytes in use", f.lent.Load(), r.limit.Used())
		}
		check(t, s, &got, 4*mib, mib)
		got.Release()
	})
}

// TestBudget: who finds no room reads without, until what others leave unread is
// taken away from them: from the same user, and after a second.
func TestBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(32*mib, 8*mib)
		files := [3]*fakeFile{newFake(64 * mib), newFake(64 * mib), newFake(64 * mib)}
		first, second, other := r.open(t, "a", files[0]), r.open(t, "a", files[1]), r.open(t, "b", files[2])
		stream(t, first, 0, 9)
		synctest.Wait()
		stream(t, second, 0, 9)
		stream(t, other, 0, 9)
		synctest.Wait()
		// A READ has its chunk while another is asked for, and a chunk's reader maybe
		// still: so there may be two less than there is room for, and others get them.
		has := func(want ...[2]int64) {
			t.Helper()
			synctest.Wait()
			for i, want := range want {
				if got := files[i].lent.Load(); got < want[0] || got > want[1] {
					t.Errorf("stream %d has %d chunks, want %d to %d", i, got, want[0], want[1])
				}
			}
		}
		all, none := [2]int64{6, 8}, [2]int64{0, 0}
		has(all, [2]int64{0, 2}, all)
		r.clock.Add(int64(idle))
		read(t, second, 9*mib, mib) // finds the first idle
		has(none, [2]int64{0, 3}, all)
		read(t, second, 10*mib, mib)
		has(none, all, all)
		stream(t, first, 9, 8)
	})
}

// TestAbandoned: a program that goes on elsewhere in the file is followed.
func TestAbandoned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(1024 * mib)
		s := newRig(64*mib, 16*mib).open(t, "a", f)
		stream(t, s, 0, 16)
		stream(t, s, 512*mib, 100)
		if _, used := s.budget.Stats(); used < 80*mib {
			t.Errorf("only %d bytes were used", used)
		}
	})
}

var _ File = (*remote.File)(nil)
