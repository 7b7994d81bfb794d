package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"hbmfs/fs/client"
	"hbmfs/fs/uapi"
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
	began := now()
	defer t.state.begin(opFetch, t.number)()
	file := &t.board.files[t.number]
	writes := [2]uint64{file.writes.Load()}
	r, err := t.file.Fetch(context.Background(), off, n, client.FetchOptions{Access: accesses[t.rand.IntN(len(accesses))]})
	if err != nil {
		return err
	}
	t.state.fetched.Add(1)
	writes[1] = file.writes.Load()
	away := r.Unsettled && r.Why == uapi.WhyTargetAway
	if away {
		t.state.away.Add(1)
	} else if r.Unsettled {
		t.state.unknown.Add(1)
	}
	h := heldRange{Lease: r, holes: r.Unsettled && !away}
	h.was, err = t.look(h)
	if gone := t.board.leasesGone(began); err == nil {
		err = cmp.Or(t.during(writes).judge(h.was, r.Unsettled || gone, h.holes), t.whole(h, off, n, gone))
	}
	t.count(h)
	if err != nil {
		t.wrong(opFetch, fmt.Errorf("%d bytes at %d, unsettled %v, away %v: %w", n, off, r.Unsettled, away, err))
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

// whole returns an error if an answer is not of the version that the open file was of
// before, has another size, or leaves something out. Where leases are gone, or a writer
// may have the file open, versions may have come after each other.
func (t *thread) whole(h heldRange, off, n int64, gone bool) error {
	end := off
	for _, s := range h.Segments {
		if s.FileOffset != end {
			return fmt.Errorf("a segment is of %d, where the one before it ends at %d", s.FileOffset, end)
		}
		end += s.Length
	}
	if h.Cursor != 0 && h.Cursor != end || h.Cursor == 0 && end != max(off, min(off+n, h.FileSize)) {
		return fmt.Errorf("it ends at %d of %d, and goes on at %d", end, h.FileSize, h.Cursor)
	}
	if h.holes || gone || h.was.none() {
		return nil
	}
	if size := sizeOf(t.number, h.was.lowest); h.FileSize != size {
		return fmt.Errorf("version %d has %d bytes, and not %d", h.was.lowest, size, h.FileSize)
	}
	if t.of != 0 && t.of != h.was.lowest {
		return fmt.Errorf("version %d, and the open file was of %d", h.was.lowest, t.of)
	}
	t.of = h.was.lowest
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
