package load

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"hbmfs/fs/client"
)

// ringer is a thread that keeps operations of a ring of its own under way, each in a
// slot.
type ringer struct {
	*worker
	ring  *client.Ring
	next  func() (item int, ok bool)
	op    func(item, slot int) client.Op
	bytes func(item int) int64 // that an operation is to bring

	slots    []slot
	ops      []client.Op // that are to be submitted
	done     []client.Completion
	underWay int
}

// slot is an operation's, or has the handle of the last one that was in it, which the
// next one releases.
type slot struct {
	item   int
	handle uint64
}

// newRinger makes the ring.
func (w *worker) newRinger() (*ringer, error) {
	ring, err := w.mount.NewRing(client.RingOptions{Entries: w.Depth})
	return &ringer{worker: w, ring: ring, next: w.take, slots: make([]slot, w.Depth), done: make([]client.Completion, w.Depth)}, err
}

// ringFiles fetches all of each file by its name.
func (w *worker) ringFiles() (err error) {
	d, err := w.mount.OpenDir(w.Dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	r, err := w.newRinger()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.ring.Close()) }()
	dir, err := r.ring.RegisterDir(d)
	r.bytes = Size
	r.op = func(i, _ int) client.Op {
		return client.Op{Kind: client.OpFetch, File: dir, Name: Name(i), Length: MostSize}
	}
	if err != nil {
		return err
	}
	return r.run()
}

// ringSamples fetches ranges of one file.
func (w *worker) ringSamples() error {
	return w.ringFile(func(r *ringer, f client.RingFile) (err error) {
		r.op = func(i, _ int) client.Op {
			return client.Op{Kind: client.OpFetch, File: f, Offset: w.sampleOffset(i), Length: w.Length}
		}
		return r.run()
	})
}

// ringInto brings ranges of one file into memory of the worker's.
func (w *worker) ringInto() error {
	return w.ringFile(func(r *ringer, f client.RingFile) (err error) {
		b, err := w.mount.NewBuffer(int64(w.Depth)*w.Length, 0)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, b.Close()) }()
		r.op = func(i, slot int) client.Op {
			return client.Op{Kind: client.OpFetchInto, File: f, Offset: w.sampleOffset(i), Length: w.Length, Into: b, At: int64(slot) * w.Length}
		}
		return r.run()
	})
}

// ringHits fetches one range, once at least, for as long as the job says.
func (w *worker) ringHits() error {
	return w.ringFile(func(r *ringer, f client.RingFile) error {
		began, n := time.Now(), 0
		r.next = func() (int, bool) {
			n++
			return 0, n == 1 || time.Since(began) < w.For
		}
		r.op = func(int, int) client.Op {
			return client.Op{Kind: client.OpFetch, File: f, Offset: w.Offset, Length: w.Length}
		}
		return r.run()
	})
}

// ringFile has do run a ring with which the file of samples is registered.
func (w *worker) ringFile(do func(*ringer, client.RingFile) error) (err error) {
	f, err := w.mount.Open(filepath.Join(w.Dir, File))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	r, err := w.newRinger()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.ring.Close()) }()
	number, err := r.ring.Register(f)
	if err != nil {
		return err
	}
	r.bytes = func(int) int64 { return w.Length }
	return do(r, number)
}

// run does one operation after another in each slot.
func (r *ringer) run() error {
	for i := range r.slots {
		r.ask(i)
	}
	for r.underWay > 0 {
		if n, err := r.ring.Submit(r.ops); err != nil || n < len(r.ops) {
			return cmp.Or(err, fmt.Errorf("a ring took %d of %d operations", n, len(r.ops)))
		}
		r.ops = r.ops[:0]
		n, err := r.ring.Wait(context.Background(), r.done)
		if err != nil {
			return err
		}
		for i := range r.done[:n] {
			if err := r.came(&r.done[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// ask has the next operation, if there is one, submitted in a slot.
func (r *ringer) ask(at int) {
	item, ok := r.next()
	if !ok {
		return
	}
	op := r.op(item, at)
	op.Tag, op.Release = uint64(at), r.slots[at].handle
	r.slots[at].item = item
	r.ops = append(r.ops, op)
	r.underWay++
}

// came counts what an operation has brought.
func (r *ringer) came(c *client.Completion) error {
	s := &r.slots[c.Tag]
	if c.Err != nil {
		return c.Err
	}
	if want := r.bytes(s.item); c.Segment.Length != want {
		return fmt.Errorf("an operation brought %d of %d bytes", c.Segment.Length, want)
	}
	s.handle = c.Handle
	r.underWay--
	r.count(c.Segment)
	r.ask(int(c.Tag))
	return nil
}

// count counts an item of one segment.
func (w *worker) count(s client.Segment) {
	w.items.Add(1)
	w.bytes.Add(s.Length)
	if s.Hit {
		w.hits.Add(s.Length)
	}
}
