package lookups

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// file counts how often it is closed.
type file struct{ closed atomic.Int32 }

func (f *file) Close() { f.closed.Add(1) }

// TestTake: what a thread has found is its own, for one open that follows at once.
func TestTake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var table Table[string, *file]
		f := new(file)
		table.Put(7, "a", f)
		for _, c := range []struct {
			thread uint32
			key    string
		}{{8, "a"}, {7, "b"}, {7 + 256, "a"}, {0, "a"}} {
			if _, _, found := table.Take(c.thread, c.key); found {
				t.Errorf("thread %d has found %q", c.thread, c.key)
			}
		}
		if got, _, found := table.Take(7, "a"); !found || got != f {
			t.Errorf("took %v, %v", got, found)
		}
		if _, _, found := table.Take(7, "a"); found {
			t.Error("it was taken twice")
		}
		table.Put(7, "a", nil)
		if got, _, found := table.Take(7, "a"); !found || got != nil {
			t.Errorf("took %v, %v, of a name whose file was not opened", got, found)
		}
		if table.Holds(7) || table.Again(7, "a") {
			t.Error("it is there again")
		}
		table.Put(7, "a", f)
		time.Sleep(trust)
		if !table.Holds(7) || table.Holds(8) || table.Again(7, "b") || !table.Again(7, "a") {
			t.Error("what was found last is not known")
		}
		time.Sleep(trust)
		if _, _, found := table.Take(7, "a"); !found {
			t.Error("what was found again is not known")
		}
		table.Put(7, "a", nil)
		time.Sleep(trust + 1)
		if _, _, found := table.Take(7, "a"); found {
			t.Error("it was taken late")
		}
		time.Sleep(2 * keep)
		if n := f.closed.Load(); n != 0 {
			t.Errorf("a file that was taken was closed %d times", n)
		}
	})
}

// TestNotOpened: each file that is not taken is closed, once.
func TestNotOpened(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var table Table[int, *file]
		files := make([]file, 600)
		for i := range files[:300] {
			table.Put(uint32(i), i, &files[i]) // thread 0 is no thread
		}
		time.Sleep(keep / 2)
		for i := range files[:300] {
			want := int32(0)
			if i == 0 || i > 0 && i < 300-256 {
				want = 1 // another thread has its place
			}
			if n := files[i].closed.Load(); n != want {
				t.Errorf("file %d was closed %d times, want %d", i, n, want)
			}
		}
		time.Sleep(2 * keep)
		for i := range files[300:] {
			table.Put(uint32(i+1), i, &files[300+i])
		}
		table.Close()
		last := new(file)
		table.Put(5, 0, last)
		time.Sleep(2 * keep)
		for i := range files {
			if n := files[i].closed.Load(); n != 1 {
				t.Errorf("file %d was closed %d times", i, n)
			}
		}
		if last.closed.Load() != 1 {
			t.Error("a file that came after Close is open")
		}
	})
}

func TestHabit(t *testing.T) {
	var h Habit
	if h.Asks() {
		t.Error("the zero value expects something")
	}
	h.Came()
	for range 100 {
		if !h.Asks() {
			t.Fatal("what always comes is not expected")
		}
		h.Came()
	}
	n := 0
	for h.Asks() {
		n++
	}
	if n == 0 || n > top {
		t.Errorf("expected %d times more", n)
	}
	h.Came()
	if !h.Asks() || h.Asks() {
		t.Error("what came once is expected once")
	}
}
