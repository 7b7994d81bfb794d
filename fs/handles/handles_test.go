package handles

import (
	"sync"
	"testing"
)

type pin struct{ released int }

func (p *pin) Release() { p.released++ }

func TestTable(t *testing.T) {
	var table Table
	all := make([]pin, 5)
	for i := range all {
		table.Keep(uint64(i), &all[i])
	}
	if all[0].released != 1 {
		t.Error("handle 0 is held")
	}
	if !table.Release(2) || table.Release(2) || table.Release(0) || table.Release(77) {
		t.Error("a handle is released that is not there, or not one that is")
	}
	if n := table.ReleaseAll(); n != 3 {
		t.Errorf("%d were left", n)
	}
	for i := range all {
		if all[i].released != 1 {
			t.Errorf("%d was released %d times", i, all[i].released)
		}
	}
	if n := table.ReleaseAll(); n != 0 {
		t.Errorf("%d are left", n)
	}
	table.Keep(9, &all[0])
	if !table.Release(9) {
		t.Error("it takes no more")
	}
}

// TestReleasedOnce: of those who release a handle at once, one does.
func TestReleasedOnce(t *testing.T) {
	var table Table
	var p pin
	table.Keep(1, &p)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() { table.Release(1); table.ReleaseAll() })
	}
	all.Wait()
	if p.released != 1 {
		t.Errorf("released %d times", p.released)
	}
}
