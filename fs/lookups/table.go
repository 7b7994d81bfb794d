// Package lookups is what is known of a name that was just looked up: what it leads to,
// for the open that follows, and whether one will.
//
// Where the kernel does not believe a name, an open(2) by path looks it up first, in
// the thread that then sends OPEN (fuse_dentry_revalidate in fs/fuse/dir.c). What that
// lookup finds is what the name leads to while the call is under way, so that OPEN need
// not ask again.
//
// Locking: each place of a Table has its own lock, and Table.mu guards its timer; it is
// not taken with a place's held. No lock is held while a file is closed.
package lookups

import (
	"sync"
	"time"
)

const (
	// trust is how old a lookup may be. OPEN follows it at once; but a thread may
	// have looked the name up and then open the file by a way that needs no name
	// (/proc/self/fd).
	trust = 5 * time.Millisecond
	// keep is for how long a file stays open that was opened with its lookup and is not
	// opened.
	keep = time.Second
)

// File is what may be opened with its lookup.
type File interface {
	comparable
	Close()
}

// Table is which version each thread has found last. Two threads may share a place:
// then the later one counts. The zero value is empty. Its methods may be called
// concurrently.
type Table[K comparable, F File] struct {
	places [256]place[K, F]

	mu     sync.Mutex
	timer  *time.Timer // runs expire
	armed  bool
	closed bool
}

type place[K comparable, F File] struct {
	mu     sync.Mutex
	thread uint32 // 0: none
	key    K
	file   F // the zero F: it was not opened
	at     time.Time
}

func (t *Table[K, F]) of(thread uint32) *place[K, F] {
	return &t.places[thread%uint32(len(t.places))]
}

// Put notes what a thread has found: a version, and a file that is open in it, which is
// the table's now, or the zero F. Thread 0 is any whose number is not known.
func (t *Table[K, F]) Put(thread uint32, key K, file F) {
	var none F
	old := file // to be closed
	if thread != 0 {
		old = t.of(thread).put(thread, key, file)
	}
	if old != none {
		old.Close()
	}
	if file != none && thread != 0 {
		t.arm()
	}
}

func (p *place[K, F]) put(thread uint32, key K, file F) (old F) {
	p.mu.Lock()
	defer p.mu.Unlock()
	old = p.file
	p.thread, p.key, p.file, p.at = thread, key, file, time.Now()
	return old
}

// Take returns when the thread has found that version, if that was just now, and gives
// up the file. It is for once.
func (t *Table[K, F]) Take(thread uint32, key K) (file F, at time.Time, found bool) {
	if thread == 0 {
		return file, at, false
	}
	p := t.of(thread)
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.isOf(thread, key) {
		return file, at, false
	}
	var none F
	file, p.file, p.thread = p.file, none, 0
	return file, p.at, true
}

// isOf reports whether the thread has just found key. p.mu is held.
func (p *place[K, F]) isOf(thread uint32, key K) bool {
	return p.thread == thread && p.key == key && time.Since(p.at) <= trust
}

// Again notes that a thread has found once more what it just had found, with a file, and
// returns false if it had not.
func (t *Table[K, F]) Again(thread uint32, key K) bool {
	p := t.of(thread)
	p.mu.Lock()
	defer p.mu.Unlock()
	var none F
	if thread == 0 || p.file == none || !p.isOf(thread, key) {
		return false
	}
	p.at = time.Now()
	return true
}

// Holds reports whether a thread has just found something, with a file, that it has not
// opened yet.
func (t *Table[K, F]) Holds(thread uint32) bool {
	p := t.of(thread)
	p.mu.Lock()
	defer p.mu.Unlock()
	var none F
	return thread != 0 && p.file != none && p.isOf(thread, p.key)
}

// expire returns the file if it was not taken for so long.
func (p *place[K, F]) expire(after time.Duration) (old F, left bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var none F
	if p.file == none {
		return none, false
	}
	if time.Since(p.at) < after {
		return none, true
	}
	old, p.file, p.thread = p.file, none, 0
	return old, false
}

// arm has expire run soon.
func (t *Table[K, F]) arm() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.armed {
		return
	}
	t.armed = true
	if t.timer == nil {
		t.timer = time.AfterFunc(keep, t.expire)
		return
	}
	t.timer.Reset(keep)
}

// expire closes files that were not opened, and goes on for as long as there are others.
func (t *Table[K, F]) expire() {
	t.mu.Lock()
	t.armed = false
	after := keep
	if t.closed {
		after = 0
	}
	t.mu.Unlock()
	var none F
	more := false
	for i := range t.places {
		old, left := t.places[i].expire(after)
		if old != none {
			old.Close()
		}
		more = more || left
	}
	if more {
		t.arm()
	}
}

// Close closes the files that are left, and those that are put in from now on shortly
// after.
func (t *Table[K, F]) Close() {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	t.expire()
}
