package loader

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"hbmfs/cmd/hbmfs/internal/stream"
	"hbmfs/fs/client"
)

// ringDepth is how many pieces of samples a worker has under way at most.
const ringDepth = 64

// ringing gets samples by a ring of each worker, by name beneath the set's directory: no
// file is opened.
type ringing struct {
	p    *playing
	most int64 // bytes that a worker holds at most
}

func beginRinging(p *playing) epochReader {
	r := &ringing{p: p}
	r.most, _ = stream.Share(p.via.Info, p.Workers)
	return r
}

func (r *ringing) worker() sampleReader { return &ringer{ringing: r} }

// Close implements [io.Closer].
func (*ringing) Close() error { return nil }

// ringer is one worker's.
type ringer struct {
	*ringing
	t    tally
	dir  *client.Dir
	ring *client.Ring
	file client.RingFile // dir
	done [ringDepth]client.Completion

	// Of the batch:
	pieces   []piece // of all samples
	next     int     // piece that is to be asked for
	again    []int   // and those of which more is to come
	underWay int
	missing  []int // pieces of each sample
	began    []time.Time
	starved  time.Time // since when nothing came for want of room

	handles []holding // what is held, oldest first
	held    int64     // bytes of that, and of what is under way
}

// piece is as much of a sample as one operation asks for.
type piece struct {
	sample int // of the batch
	wanted
}

type holding struct {
	handle uint64
	bytes  int64
}

func (r *ringer) tally() *tally { return &r.t }

// open makes the ring.
func (r *ringer) open() (err error) {
	if r.ring != nil {
		return nil
	}
	if r.dir, err = r.p.via.Mount.OpenDir(r.p.via.Dir); err != nil {
		return err
	}
	if r.ring, err = r.p.via.Mount.NewRing(client.RingOptions{Entries: ringDepth, NameBytes: 4095}); err != nil {
		return err
	}
	r.file, err = r.ring.RegisterDir(r.dir)
	return err
}

// get implements [sampleReader]. A sample's time is from when the first piece of it was
// asked for until the last has come.
func (r *ringer) get(ctx context.Context, batch []wanted) error {
	if err := r.open(); err != nil {
		return err
	}
	r.cut(batch)
	for r.underWay > 0 || r.next < len(r.pieces) || len(r.again) > 0 {
		if err := r.ask(); err != nil {
			return err
		}
		// The context is one that can't end, as FETCH's is.
		n, err := r.ring.Wait(context.Background(), r.done[:])
		if err != nil {
			return err
		}
		for i := range r.done[:n] {
			if err := r.take(&r.done[i]); err != nil {
				return err
			}
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return nil
}

// cut lists the pieces of a batch: a sample that is longer than an extent comes in what
// extents have of it.
func (r *ringer) cut(batch []wanted) {
	r.pieces, r.again, r.next = r.pieces[:0], r.again[:0], 0
	r.missing, r.began = make([]int, len(batch)), make([]time.Time, len(batch))
	extent := max(1, r.p.via.Info.ExtentSize)
	for i, s := range batch {
		for end := s.Off + s.Len; s.Off < end; s.Off += s.Len {
			if s.Len = end - s.Off; s.Len > extent {
				s.Len = extent - s.Off%extent
			}
			r.pieces = append(r.pieces, piece{i, s})
			r.missing[i]++
		}
	}
}

// ask submits as many pieces as may be under way, and held. There is always one.
func (r *ringer) ask() error {
	for r.underWay < ringDepth && (r.next < len(r.pieces) || len(r.again) > 0) {
		i := r.next
		if len(r.again) > 0 {
			i = r.again[len(r.again)-1]
		}
		p := &r.pieces[i]
		for r.held+p.Len > r.most && len(r.handles) > 1 && r.underWay < ringDepth {
			if err := r.submit(client.Op{Kind: client.OpRelease, Tag: released, Release: r.oldest()}); err != nil {
				return err
			}
		}
		if r.underWay == ringDepth || r.held+p.Len > r.most && r.underWay > 0 {
			return nil
		}
		op := client.Op{
			Kind: client.OpFetch, Tag: uint64(i), File: r.file, Name: r.p.Set.Files[p.File].Name,
			Offset: p.Off, Length: p.Len, Release: r.oldest(),
		}
		if err := r.submit(op); err != nil {
			return err
		}
		r.begun(i)
	}
	return nil
}

// released is the tag of what only releases.
const released = ^uint64(0)

// oldest is a handle to release, 0 if none is held.
func (r *ringer) oldest() uint64 {
	if len(r.handles) == 0 {
		return 0
	}
	h := r.handles[0]
	r.handles = r.handles[1:]
	r.held -= h.bytes
	return h.handle
}

func (r *ringer) submit(op client.Op) error {
	n, err := r.ring.Submit([]client.Op{op})
	if err == nil && n == 0 {
		err = fmt.Errorf("a ring of %d entries is full with %d under way", ringDepth, r.underWay)
	}
	r.underWay++
	return err
}

// begun notes that a piece was asked for.
func (r *ringer) begun(i int) {
	p := &r.pieces[i]
	if len(r.again) > 0 {
		r.again = r.again[:len(r.again)-1]
	} else {
		r.next++
	}
	if r.began[p.sample].IsZero() {
		r.began[p.sample] = time.Now()
	}
	r.held += p.Len
}

// take counts and checks what came.
func (r *ringer) take(c *client.Completion) error {
	r.underWay--
	if c.Tag == released {
		return c.Err
	}
	p := &r.pieces[c.Tag]
	r.held -= p.Len
	if c.Err != nil {
		return r.retry(int(c.Tag), c.Err)
	}
	r.starved = time.Time{}
	if c.Segment.Length == 0 {
		return fmt.Errorf("%s: no bytes came at %d of %d", r.p.Set.path(r.p.via.Dir, p.File), p.Off, c.FileSize)
	}
	r.held += c.Segment.Length
	r.handles = append(r.handles, holding{c.Handle, c.Segment.Length})
	if err := r.look(p, c); err != nil {
		return err
	}
	p.Off, p.Len = p.Off+c.Segment.Length, p.Len-c.Segment.Length
	if p.Len > 0 {
		r.again = append(r.again, int(c.Tag))
		return nil
	}
	if r.missing[p.sample]--; r.missing[p.sample] == 0 {
		r.t.samples++
		r.t.took = append(r.t.took, time.Since(r.began[p.sample]))
	}
	return nil
}

// retry has a piece asked for again, for a while, that there was no room for.
func (r *ringer) retry(i int, err error) error {
	now := time.Now()
	if r.starved.IsZero() {
		r.starved = now
	}
	if !errors.Is(err, syscall.ENOSPC) || now.Sub(r.starved) > stream.RoomWait {
		return err
	}
	r.again = append(r.again, i)
	time.Sleep(stream.RoomRetry)
	return nil
}

// look checks what lies in device memory, if that can be told and seen.
func (r *ringer) look(p *piece, c *client.Completion) error {
	seg := c.Segment
	seg.FileOffset = p.Off
	r.t.lease(&client.Lease{Segments: []client.Segment{seg}, Fetched: seg.Length, Path: seg.Path, Why: c.Why, Unsettled: c.Unsettled})
	if !r.p.checks {
		return nil
	}
	data, err := r.p.via.Mount.Bytes(seg)
	if err != nil {
		return err
	}
	if err := r.p.Set.Workload.check(data, p.File, seg.FileOffset, p.all); err != nil {
		return r.p.wrong(p.File, err)
	}
	return nil
}

// Close implements [io.Closer]: it releases what is held.
func (r *ringer) Close() (err error) {
	if r.ring != nil {
		err = r.ring.Close()
	}
	if r.dir != nil {
		err = errors.Join(err, r.dir.Close())
	}
	return err
}
