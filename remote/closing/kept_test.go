package closing

import (
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"
)

// put is Put of a file that is named as its key.
func put(k *Kept[int, int], key int) (out int, ok bool) { return k.Put(key, key) }

func TestKept(t *testing.T) {
	k := NewKept[int, int]()
	if out, ok := put(k, 1); !ok || out != 1 {
		t.Error("it is kept without room")
	}
	k.SetRoom(2)
	for key := 1; key <= 2; key++ {
		if _, ok := put(k, key); ok {
			t.Errorf("%d is not kept, and there is room", key)
		}
	}
	if out, ok := k.Put(1, 7); !ok || out != 1 {
		t.Errorf("%d, %v is not kept for another in its place", out, ok)
	}
	k.Put(1, 1)
	if out, ok := put(k, 3); !ok || out != 3 {
		t.Error("it took the place of one that was not kept for long")
	}
	if f, ok := k.Find(1); !ok || f != 1 || !k.Remove(1, 1) {
		t.Errorf("found %d, %v", f, ok)
	}
	if _, ok := k.Find(1); ok || k.Remove(1, 1) {
		t.Error("it was removed twice")
	}
	if _, ok := k.Find(2); !ok || k.Remove(2, 7) || !k.Remove(2, 2) {
		t.Error("another than the one that was kept was removed")
	}
	put(k, 4)
	put(k, 5)
	if out := k.Shed(2); len(out) != 1 || out[0] != 4 {
		t.Errorf("shed %v, want the one that was put in first", out)
	}
	if out := k.SetRoom(0); len(out) != 1 || out[0] != 5 || k.Len() != 0 || k.Room() != 0 {
		t.Errorf("without room: %v", out)
	}
}

// TestKeptIsLetGo: after a while, and all of it where it is in others' way.
func TestKeptIsLetGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := NewKept[int, int]()
		k.SetRoom(8)
		put(k, 1)
		time.Sleep(time.Second)
		put(k, 2)
		if out := k.Expire(time.Second); len(out) != 1 || out[0] != 1 {
			t.Errorf("expired: %v", out)
		}
		put(k, 3)
		if out := k.Yield(); len(out) != 2 || k.Len() != 0 {
			t.Errorf("yielded: %v", out)
		}
		put(k, 3)
		if k.Len() != 0 {
			t.Error("what was open when the others were yielded is kept")
		}
		time.Sleep(yieldFor)
		for i := range 8 {
			put(k, i)
		}
		if k.Len() != 4 {
			t.Errorf("%d are kept after that, want half as many", k.Len())
		}
	})
}

// TestKeptStays: of files that are opened in another order each time, as many are found
// as there is room for; and once they are not opened any more, others take their place.
func TestKeptStays(t *testing.T) {
	const files, room = 300, 100
	k := NewKept[int, int]()
	k.SetRoom(room)
	found := 0
	epoch := func(first int) {
		found = 0
		for _, i := range rand.New(rand.NewPCG(1, uint64(first))).Perm(files) {
			if k.Remove(first+i, first+i) {
				found++
			}
			put(k, first+i)
		}
	}
	epoch(0)
	for range 4 {
		if epoch(0); found != room {
			t.Errorf("%d of %d were found, with room for %d", found, files, room)
		}
	}
	for range 5 {
		epoch(files)
	}
	if found < room*9/10 {
		t.Errorf("%d of %d others were found, with room for %d", found, files, room)
	}
}
