// Package handles is what an open file, or directory, holds for the program that has it
// open, by the handles that the program was told.
//
// Locking: a Table's mutex guards it, and is not held while anything is released.
package handles

import (
	"sync"
	"syscall"
)

// Held is held until Release, which comes once.
type Held interface{ Release() }

// Table has what is held by handle. Handle 0 is none. The zero value is empty. Its
// methods may be called concurrently.
type Table struct {
	mu sync.Mutex
	by map[uint64]Held
}

// Keep enters p, which another thread may release from then on. With handle 0 it is
// released at once.
func (t *Table) Keep(handle uint64, p Held) {
	if handle == 0 {
		p.Release()
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.by == nil {
		t.by = make(map[uint64]Held)
	}
	t.by[handle] = p
}

// Release reports whether there was that handle.
func (t *Table) Release(handle uint64) bool {
	p, ok := t.take(handle)
	if ok {
		p.Release()
	}
	return ok
}

// End releases what a handle stands for, and returns why that was of no use any more, or
// nil. The error is ENOENT if there is no such handle.
func (t *Table) End(handle uint64) error {
	p, ok := t.take(handle)
	if !ok {
		return syscall.ENOENT
	}
	err := Lost(p)
	p.Release()
	return err
}

// Lost returns why what is held is of no use any more, or nil.
func Lost(p Held) error {
	if l, ok := p.(interface{ Err() error }); ok {
		return l.Err()
	}
	return nil
}

func (t *Table) take(handle uint64) (p Held, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p, ok = t.by[handle]
	delete(t.by, handle)
	return p, ok
}

// ReleaseAll returns how many there were.
func (t *Table) ReleaseAll() int {
	t.mu.Lock()
	all := t.by
	t.by = nil
	t.mu.Unlock()
	for _, p := range all {
		p.Release()
	}
	return len(all)
}
