package main

import (
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

func (t *thread) fetch() error {
	off, n := t.span()
	began := now()
	defer t.state.begin(opFetch, t.number)()
	file := &t.board.files[t.number]
	writes := [2]uint64{file.writes.Load()}
	r, err := t.file.Fetch(context.Background(), off, n, client.FetchOptions{})
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
	if h.was, err = t.look(h); err == nil {
		err = t.during(writes).judge(h.was, r.Unsettled || t.board.leasesGone(began), h.holes)
	}
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
