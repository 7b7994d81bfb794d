package limits

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// waits is a Wait under way.
func waits(ctx context.Context, s *Share, n int64) (done func() bool) {
	var ended atomic.Bool
	go func() {
		if s.Wait(ctx, n) == nil {
			ended.Store(true)
		}
	}()
	synctest.Wait()
	return func() bool {
		synctest.Wait()
		return ended.Load()
	}
}

// TestClientsAreServedInTurn: of two that wait, the one that asks for more gets no
// more.
func TestClientsAreServedInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		l := New(Config{All: 2})
		s := sharesOf(l, "", "a", "b")
		if err := s[0].Acquire(2); err != nil {
			t.Fatal(err)
		}
		var greedy []func() bool
		for range 10 {
			greedy = append(greedy, waits(ctx, s[1], 1))
		}
		modest := waits(ctx, s[2], 1)
		s[0].Release(2)
		if !greedy[0]() || !modest() || greedy[1]() {
			t.Error("not one each")
		}
		s[1].Release(1)
		if !greedy[1]() {
			t.Error("what came back helps nobody")
		}
		cancel()
		synctest.Wait()
		s[1].Release(1)
		s[2].Release(1)
		if l.Used() != 0 || len(l.turn) != 0 {
			t.Errorf("%d in use, %d wait", l.Used(), len(l.turn))
		}
	})
}

// TestMuchIsServed: one who wants much gets it, though others take whatever comes
// free.
func TestMuchIsServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Config{All: 8})
		s := sharesOf(l, "a", "b", "c")
		takeAll(t, s[0]) // 4
		takeAll(t, s[1]) // 2
		much := waits(t.Context(), s[2], 6)
		s[0].Release(1)
		small := waits(t.Context(), s[1], 1)
		if much() || small() || s[1].TryAcquire(1) {
			t.Error("others go first")
		}
		s[0].Release(3)
		if !much() || small() {
			t.Error("not served when there was room")
		}
		s[2].Release(6)
		if !small() {
			t.Error("who stood behind was forgotten")
		}
	})
}

// TestShareHoldsUpItselfOnly: who waits for his own share to have room is in
// nobody's way.
func TestShareHoldsUpItselfOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Config{All: 16})
		full, other := l.Join("a", 2), l.Join("a", 2)
		if err := full.Acquire(2); err != nil {
			t.Fatal(err)
		}
		waiting := waits(t.Context(), full, 2)
		if full.TryAcquire(0) || !other.TryAcquire(1) {
			t.Error("the wrong share is held up")
		}
		full.Release(1)
		if waiting() {
			t.Error("more than its share")
		}
		full.Release(1)
		if !waiting() {
			t.Error("not served")
		}
	})
}

func TestWaitEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Config{All: 4})
		s := sharesOf(l, "a", "b")
		takeAll(t, s[0])
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s[1].Wait(ctx, 3); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		s[0].Release(1)
		if err := s[1].Wait(ctx, 1); !errors.Is(err, context.DeadlineExceeded) || l.Used() != 1 {
			t.Errorf("of who has left: %v, and %d are in use", err, l.Used())
		}
		if err := s[1].Wait(t.Context(), 5); !errors.Is(err, ErrLimit) {
			t.Errorf("what can never be: %v", err)
		}
		if err := l.Join("a", 1).Wait(t.Context(), 2); !errors.Is(err, ErrLimit) {
			t.Errorf("more than the share ever has: %v", err)
		}
		if !s[1].TryAcquire(1) {
			t.Error("who gave up is in the way")
		}
	})
}

// TestMany has clients come, wait, give up and go: no bound is passed, nobody
// waits for ever, and nothing is left.
func TestMany(t *testing.T) {
	const all = 64
	l := New(Config{All: all, Each: 40})
	var used atomic.Int64
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			for range 300 {
				s := l.Join(fmt.Sprint(i%5), 24)
				n := rand.Int64N(24) + 1
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rand.IntN(3)+1)*time.Millisecond)
				if i%2 == 0 {
					ctx = t.Context()
				}
				if s.Wait(ctx, n) == nil {
					if used.Add(n) > all {
						t.Error("more than all")
					}
					time.Sleep(time.Duration(rand.IntN(50)) * time.Microsecond)
					used.Add(-n)
					s.Release(n)
				}
				cancel()
				s.Leave()
			}
		})
	}
	wg.Wait()
	if l.Used() != 0 || len(l.clients) != 0 || len(l.turn) != 0 {
		t.Errorf("%d in use, by %d clients, %d wait", l.Used(), len(l.clients), len(l.turn))
	}
}
