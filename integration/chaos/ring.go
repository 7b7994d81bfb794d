package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"hbmfs/fs/client"
)

const ringEntries = 2 * spaceSlots

// ringer is a loader that takes files by a ring: by name, and from one that is open.
type ringer struct {
	*thread
	ring    *client.Ring
	revoked int64 // how often memory was taken away that the ring can't tell of
	told    int64 // how often it has told
	dir     *client.Dir
	root    client.RingFile
	open    *opening // the file that is open
	file    client.RingFile
	flying  map[uint64]*flight
	ops     []client.Op // that are to be submitted
	tag     uint64
	pins    []pinned
}

// flight is an operation that was submitted.
type flight struct {
	asked
	op        client.Op
	revoked   int64 // what told was then
	loose     bool  // its file was closed
	cancelled bool
}

// pinned is what a FETCH pinned, and must stay what it was.
type pinned struct {
	*flight
	handle  uint64
	segment client.Segment
	was     versions
	holes   bool
}

// loadByRing takes files of the mount by one ring after another.
func (t *thread) loadByRing() {
	for !t.board.over.Load() {
		t.ringTurn(t.rand.IntN(200))
	}
	t.closeSpace()
	t.close()
}

// ringTurn makes a ring, takes n times what it can have under way, and ends it: in the
// midst of that, now and then.
func (t *thread) ringTurn(n int) {
	r := &ringer{thread: t, flying: make(map[uint64]*flight)}
	err := r.make()
	for ; err == nil && n >= 0 && !t.board.over.Load(); n-- {
		err = r.turn()
	}
	if err == nil && t.rand.IntN(4) > 0 {
		err = r.drain()
	}
	if err != nil {
		t.failed(err)
	}
	r.end()
	if err != nil || t.rand.IntN(8) == 0 {
		t.closeSpace()
		t.close()
		time.Sleep(10 * time.Millisecond) // the mount may be gone
	}
}

func (r *ringer) make() (err error) {
	r.number = 0
	if err = r.withMount(); err == nil {
		err = r.withSpace()
	}
	if err != nil {
		return err
	}
	defer r.state.begin(opRing, r.number)()
	r.revoked = r.board.revoked[1].Load()
	if r.ring, err = r.mount.NewRing(client.RingOptions{Entries: ringEntries, NameBytes: 16}); err != nil {
		return err
	}
	if r.dir, err = r.mount.OpenDir(r.thread.dir); err != nil {
		return err
	}
	r.root, err = r.ring.RegisterDir(r.dir)
	return err
}

// end closes all. What is still under way may go on writing to the space.
func (r *ringer) end() {
	r.closeFile()
	if r.dir != nil {
		r.dir.Close()
	}
	if r.ring != nil {
		defer r.state.begin(opRing, r.number)()
		if err := r.ring.Close(); err != nil {
			r.wrong(opRing, err)
		}
	}
	if r.space != nil && len(r.flying) > 0 {
		r.space.lost++
	}
}

// turn submits as much as may be under way, and takes what has completed.
func (r *ringer) turn() error {
	if r.space.lost > 0 || r.rand.IntN(20) == 0 {
		if err := r.renew(); err != nil {
			return err
		}
	}
	r.mayDie()
	for len(r.flying) < spaceSlots && len(r.space.free) > 0 {
		r.next()
	}
	if err := r.submit(); err != nil {
		return err
	}
	return r.wait()
}

// renew takes the next file and the next space; the file goes under way, now and then.
func (r *ringer) renew() error {
	if r.rand.IntN(2) == 0 {
		r.letGo()
	}
	if err := r.drain(); err != nil {
		return err
	}
	r.letGo()
	if err := r.withSpace(); err != nil {
		return err
	}
	r.number = r.rand.IntN(files)
	if err := r.openOne(); err != nil {
		return err
	}
	o := r.opening
	r.open = &o
	var err error
	r.file, err = r.ring.Register(r.thread.file)
	return err
}

// letGo closes the file, or ends its registration first.
func (r *ringer) letGo() {
	if r.open == nil {
		return
	}
	for _, f := range r.flying {
		f.loose = f.loose || f.op.File == r.file && !f.named
	}
	if r.rand.IntN(2) == 0 {
		if err := r.ring.Remove(r.thread.file, r.file); err != nil {
			r.failed(err)
		}
	}
	r.closeFile()
	r.open = nil
}

// next makes up an operation.
func (r *ringer) next() {
	op := client.Op{Kind: client.OpFetch, File: r.file}
	o := r.open
	if o == nil || r.rand.IntN(2) == 0 {
		o = r.byName(r.rand.IntN(files))
		op.File, op.Name = r.root, fileName(o.number)
	}
	r.number = o.number
	op.Offset, op.Length = r.span()
	if r.rand.IntN(2) == 0 {
		op.Kind, op.Into, op.At = client.OpFetchInto, r.space.buf, r.space.place(r.rand)
	} else {
		op.Access = accesses[r.rand.IntN(len(accesses))]
		if len(r.pins) > 0 && r.rand.IntN(2) == 0 {
			op.Release = r.unpin()
		}
	}
	f := r.add(op, r.ask(o, op.Offset, op.Length))
	if r.rand.IntN(32) == 0 {
		f.cancelled = true
		r.add(client.Op{Kind: client.OpCancel, Cancel: f.op.Tag}, f.asked)
	}
	if len(r.pins) > 2*maxHeld {
		r.add(client.Op{Kind: client.OpRelease, Release: r.unpin()}, f.asked)
	}
}

func (r *ringer) add(op client.Op, q asked) *flight {
	r.tag++
	op.Tag = r.tag
	f := &flight{asked: q, op: op, revoked: r.told}
	r.flying[op.Tag] = f
	r.ops = append(r.ops, op)
	return f
}

// submit submits what there is room for. The rest is for after the next completion.
func (r *ringer) submit() error {
	n, err := r.ring.Submit(r.ops)
	r.ops = r.ops[n:]
	return err
}

// wait takes completions, or is told that memory was taken away.
func (r *ringer) wait() error {
	var done [ringEntries]client.Completion
	end := r.state.begin(opRing, r.number)
	n, err := r.ring.Wait(context.Background(), done[:1+r.rand.IntN(len(done))])
	end()
	if errors.Is(err, unix.ENODEV) {
		r.told++
		r.state.told.Add(1)
		if begun := r.board.revoked[0].Load() - r.revoked; r.told > begun {
			r.wrong(opRing, fmt.Errorf("memory was taken away %d times, and the ring says %d", begun, r.told))
		}
		return nil
	}
	if errors.Is(err, client.ErrProtocol) {
		r.wrong(opRing, err)
	}
	for _, c := range done[:n] {
		r.completed(c)
	}
	return err
}

// drain waits for all that is under way.
func (r *ringer) drain() error {
	for len(r.flying) > 0 {
		if err := r.submit(); err != nil {
			return err
		}
		if err := r.wait(); err != nil {
			return err
		}
	}
	return nil
}

func (r *ringer) completed(c client.Completion) {
	f := r.flying[c.Tag]
	if f == nil {
		r.wrong(opRing, fmt.Errorf("%+v is of nothing that is under way", c))
		return
	}
	delete(r.flying, c.Tag)
	r.number = f.number
	if took := now() - f.began; took > hangLimit {
		r.wrong(opRing, fmt.Errorf("%+v took %v", f.op, took))
	}
	if c.Err != nil {
		r.refused(f, c.Err)
		return
	}
	r.state.ringed.Add(1)
	a := answer{c.Segment.Length, c.FileSize, c.More, c.Unsettled, c.Why}
	switch f.op.Kind {
	case client.OpFetch:
		r.fetched(f, c, a)
	case client.OpFetchInto:
		r.countPlaced(f.asked, client.Placed{Fetched: a.got, Path: c.Segment.Path})
		r.state.byRing.Add(uint64(wordsIn(f.off, a.got)))
		r.placed(opRing, f.asked, a, f.op.At)
	}
}

// refused judges an error of an operation.
func (r *ringer) refused(f *flight, err error) {
	if f.op.Kind == client.OpFetchInto {
		r.space.back(f.op.At, false)
	}
	switch {
	case f.cancelled && errors.Is(err, unix.ECANCELED), f.loose && errors.Is(err, unix.EBADF),
		f.op.Kind == client.OpCancel && errors.Is(err, unix.ENOENT):
	case errors.Is(err, unix.ENOSPC):
		r.state.full.Add(1)
		for len(r.pins) > 0 {
			r.add(client.Op{Kind: client.OpRelease, Release: r.unpin()}, f.asked)
		}
	case f.op.Kind == client.OpRelease && (!errors.Is(err, unix.ENODEV) || r.board.revoked[0].Load() == r.revoked):
		r.wrong(opRelease, fmt.Errorf("by a ring: %w", err))
	default:
		r.failed(err)
	}
}

// fetched judges what a FETCH pinned.
func (r *ringer) fetched(f *flight, c client.Completion, a answer) {
	p := pinned{flight: f, handle: c.Handle, segment: c.Segment, holes: a.holes()}
	var err error
	if p.was, err = r.see(p); err == nil {
		err = r.judge(f.asked, a, p.was)
	}
	if c.More && c.Cursor != f.off+a.got {
		err = errors.Join(err, fmt.Errorf("%d bytes at %d, and it goes on at %d", a.got, f.off, c.Cursor))
	}
	if err != nil {
		r.wrong(opRing, err)
	}
	if !p.was.none() {
		n := uint64(wordsIn(f.off, a.got))
		r.state.checked[c.Segment.Path].Add(n)
		r.state.byRing.Add(n)
		if c.Segment.Hit {
			r.state.hits.Add(n)
		}
	}
	if c.Handle != 0 {
		r.pins = append(r.pins, p)
	}
}

// see reads what is pinned. What may have been taken away, or can't be mapped because the
// mount has ended, is of no version.
func (r *ringer) see(p pinned) (versions, error) {
	none := versions{lowest: ^uint64(0)}
	if p.segment.Length == 0 || p.revoked != r.told {
		return none, nil
	}
	b, err := r.mount.Bytes(p.segment)
	if err != nil {
		return none, nil
	}
	return read(b, p.number, p.off, p.holes)
}

// unpin returns what was pinned first, to be released, if it is still what it was.
func (r *ringer) unpin() (handle uint64) {
	p := r.pins[0]
	r.pins = r.pins[1:]
	if is, err := r.see(p); err != nil || is != p.was && !is.none() && !p.was.none() {
		r.number = p.number
		r.wrong(opRing, errors.Join(fmt.Errorf("pinned bytes were of versions %v, and are of %v", p.was, is), err))
	}
	return p.handle
}
