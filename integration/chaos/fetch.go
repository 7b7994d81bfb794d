package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"hbmfs/fs/client"
)

// maxHeld is how many pinned ranges a thread keeps to look at again.
const maxHeld = 2

// heldRange is pinned, and must stay what it was.
type heldRange struct {
	*client.Lease
	was   versions
	holes bool
}

func (t *thread) fetch(off, n int64) error {
	q := t.ask(&t.opening, off, n)
	defer t.state.begin(opFetch, t.number)()
	r, err := t.file.Fetch(context.Background(), off, n, client.FetchOptions{Access: accesses[t.rand.IntN(len(accesses))]})
	if err != nil {
		return err
	}
	t.state.fetched.Add(1)
	a := answer{r.Fetched, r.FileSize, r.Cursor != 0, r.Unsettled, r.Why}
	h := heldRange{Lease: r, holes: a.holes()}
	h.was, err = t.look(h)
	if err == nil {
		err = cmp.Or(t.judge(q, a, h.was), contiguous(h, off))
	}
	t.count(h)
	if err != nil {
		t.wrong(opFetch, err)
	}
	if r.Handle != 0 {
		t.held = append(t.held, h)
	}
	if len(t.held) > maxHeld {
		t.releaseOne()
	}
	return nil
}

var accesses = []client.Access{client.Detect, client.Detect, client.Random, client.Sequential}

// contiguous returns an error if segments leave something out of what they cover from off on.
func contiguous(h heldRange, off int64) error {
	end := off
	for _, s := range h.Segments {
		if s.FileOffset != end {
			return fmt.Errorf("a segment is of %d, where the one before it ends at %d", s.FileOffset, end)
		}
		end += s.Length
	}
	if end != off+h.Fetched || h.Cursor != 0 && h.Cursor != end {
		return fmt.Errorf("segments end at %d, %d bytes came, and it goes on at %d", end, h.Fetched, h.Cursor)
	}
	return nil
}

// count counts what was checked.
func (t *thread) count(h heldRange) {
	if h.was.none() {
		return
	}
	for _, s := range h.Segments {
		n := uint64(wordsIn(s.FileOffset, s.Length))
		t.state.checked[s.Path].Add(n)
		if s.Hit {
			t.state.hits.Add(n)
		}
	}
}

// look reads what is pinned. What can't be mapped because the mount has ended is
// of no version.
func (t *thread) look(h heldRange) (versions, error) {
	all := versions{lowest: ^uint64(0)}
	for _, s := range h.Segments {
		b, err := t.mount.Bytes(s)
		if err != nil {
			return all, nil
		}
		v, err := read(b, t.number, s.FileOffset, h.holes)
		if err != nil {
			return all, err
		}
		if !v.none() {
			all = versions{min(all.lowest, v.lowest), max(all.highest, v.highest)}
		}
	}
	return all, nil
}

// releaseOne releases what is held longest, if it is still what it was.
func (t *thread) releaseOne() {
	if len(t.held) == 0 {
		return
	}
	h := t.held[0]
	t.held = t.held[1:]
	if is, err := t.look(h); err != nil || is != h.was && !is.none() && !h.was.none() {
		t.wrong(opRelease, errors.Join(fmt.Errorf("pinned bytes were of versions %v, and are of %v", h.was, is), err))
	}
	defer t.state.begin(opRelease, t.number)()
	if err := t.file.Release(h.Handle); err != nil {
		t.failed(err)
	}
}
