package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"golang.org/x/sys/unix"

	"hbmfs/fs/client"
)

const (
	largest = 300 << 10 // of what is asked for at once
	slotLen = largest + 64
	// spaceSlots is how many ranges are asked for at once, at most.
	spaceSlots = 8
	// untouched is what no range is placed on.
	untouched = 0xa5
)

// space is a buffer, in slots: a range goes to an odd place in one.
type space struct {
	buf  *client.Buffer
	mem  []byte
	own  bool  // it is a memfd of this process's, from a page on
	free []int // slots
	lost int   // slots that may still be written to
}

func newSpace(m *client.Mount, own bool) (s *space, err error) {
	s = &space{own: own}
	if own {
		err = s.register(m, spaceSlots*slotLen)
	} else if s.buf, err = m.NewBuffer(spaceSlots*slotLen, 0); err == nil {
		s.mem = s.buf.Bytes()
	}
	for i := range spaceSlots {
		s.free = append(s.free, i)
	}
	return s, err
}

func (s *space) register(m *client.Mount, size int64) error {
	const skip = 4096
	fd, err := unix.MemfdCreate("chaos", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	err = unix.Fallocate(fd, 0, 0, skip+size)
	if err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK)
	}
	if err == nil {
		s.mem, err = unix.Mmap(fd, skip, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	}
	if err != nil {
		return err
	}
	if s.buf, err = m.Register(fd, skip, size, 0); err != nil {
		return errors.Join(err, unix.Munmap(s.mem))
	}
	return nil
}

// place is somewhere in a slot, of which nothing else is written until back has it.
func (s *space) place(r *rand.Rand) (at int64) {
	slot := s.free[len(s.free)-1]
	s.free = s.free[:len(s.free)-1]
	b := s.mem[slot*slotLen:][:slotLen]
	for i := range b {
		b[i] = untouched
	}
	return int64(slot*slotLen) + 1 + r.Int64N(slotLen-largest-1)
}

// at returns the n bytes at a place, and an error if more than may was written.
func (s *space) at(at, n, may int64) ([]byte, error) {
	first := at / slotLen * slotLen
	for i := first; i < first+slotLen; i++ {
		if (i < at || i >= at+may) && s.mem[i] != untouched {
			return nil, fmt.Errorf("%d bytes were placed at %d of a buffer, and others were written: %d has % x", n, at, i, s.mem[i:min(i+16, first+slotLen)])
		}
	}
	return s.mem[at : at+n], nil
}

// back says that nothing writes at a place any more; or, where that is not known, that
// its slot is lost.
func (s *space) back(at int64, known bool) {
	if !known {
		s.lost++
		return
	}
	s.free = append(s.free, int(at/slotLen))
}

// close waits for what is still being written.
func (s *space) close() error {
	for began := time.Now(); ; time.Sleep(poll) {
		err := s.buf.Close()
		if errors.Is(err, unix.EBUSY) && time.Since(began) < hangLimit {
			continue
		}
		if err == nil && s.own {
			err = unix.Munmap(s.mem)
		}
		return err
	}
}

// withSpace makes sure of a space of which no slot is lost.
func (t *thread) withSpace() (err error) {
	if t.space != nil && t.space.lost > 0 {
		t.closeSpace()
	}
	if t.space == nil {
		defer t.state.begin(opBuffer, t.number)()
		var s *space
		if s, err = newSpace(t.mount, t.rand.IntN(2) == 0); err == nil {
			t.space = s
		}
	}
	return err
}

func (t *thread) closeSpace() {
	if t.space == nil {
		return
	}
	defer t.state.begin(opBuffer, t.number)()
	if err := t.space.close(); err != nil {
		t.wrong(opBuffer, err)
	}
	t.space = nil
}

// placed judges a range that came to a place in the space.
func (t *thread) placed(what operation, q asked, a answer, at int64) {
	t.state.placed.Add(1)
	may := a.got
	if q.named { // there may have been more of the version before
		may = q.n
	}
	b, err := t.space.at(at, a.got, may)
	if err != nil {
		err = fmt.Errorf("%d bytes at %d of a file of %d, by name %v: %w", q.n, q.off, a.size, q.named, err)
	}
	if err == nil {
		var v versions
		if v, err = read(b, q.number, q.off, a.holes()); err == nil {
			err = t.judge(q, a, v)
		}
	}
	if err != nil {
		t.number = q.number
		t.wrong(what, err)
	}
	t.space.back(at, true)
}

// countPlaced counts what came into a buffer.
func (t *thread) countPlaced(q asked, p client.Placed) {
	n := uint64(wordsIn(q.off, p.Fetched))
	t.state.checked[p.Path].Add(n)
	t.state.into.Add(n)
	if p.Fetched > 0 {
		t.state.hits.Add(n * uint64(p.Resident) / uint64(p.Fetched))
	}
}
