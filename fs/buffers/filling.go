package buffers

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"hbmfs/cache"
	"hbmfs/fs/uapi"
	"hbmfs/transport"
	"hbmfs/transport/limits"
)

// filling is one fill under way: of who waits for it, and of what it waits for, which may
// go on when nobody does any more. It is used again once both are over.
type filling struct {
	reqs   [window]transport.Request
	copied func(error) // of a gather; onCopied, bound once
	wake   chan struct{}
	timer  *time.Timer

	// The caller's, until leave; then of who ends the last transfer.
	buf    *Buffer
	src    cache.Source
	shift  int64 // what an offset in the file is to be added for one in the buffer
	turn   *limits.Share
	batch  []*transport.Request // taken, and not submitted yet
	spans  []transport.Span     // of gathers; the memory's until they are done
	leases []*cache.Lease       // of what they copy
	stray  *stray               // nil: all had ended when the caller left

	mu      sync.Mutex
	free    []*transport.Request // guarded by mu, as is all that follows
	pending int                  // requests and gathers that were begun, and have not ended
	copies  int                  // of those, the gathers
	steps   int                  // of those that have
	left    bool                 // nobody waits any more
	err     error                // the first
	outcome
}

// outcome is what has come.
type outcome struct {
	Filled
	paths uapi.ByPath
}

var fillings sync.Pool

// newFilling returns one that has a use of b.
func newFilling(b *Buffer, src cache.Source, shift int64) *filling {
	f, ok := fillings.Get().(*filling)
	if !ok {
		f = &filling{wake: make(chan struct{}, 1), timer: time.NewTimer(time.Hour)}
		f.timer.Stop()
		f.copied = f.onCopied
		f.free = make([]*transport.Request, 0, window)
		for i := range f.reqs {
			f.reqs[i].To = f
			f.free = append(f.free, &f.reqs[i])
		}
	}
	b.again()
	f.buf, f.src, f.shift = b, src, shift
	f.turn = b.table.underWay.Join(userName(b.mem.Domain().UID), 0)
	return f
}

// idle returns a request that is in no use, if there is one.
func (f *filling) idle() (*transport.Request, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	last := len(f.free) - 1
	if last < 0 {
		return nil, false
	}
	r := f.free[last]
	f.free = f.free[:last]
	return r, true
}

func (f *filling) putBack(r *transport.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.free = append(f.free, r)
}

// begin counts what is about to be under way.
func (f *filling) begin(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pending += n
}

// copying counts a gather that is about to be under way.
func (f *filling) copying() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pending++
	f.copies++
}

// release lets go of what was copied, unless that goes on.
func (f *filling) release() {
	f.mu.Lock()
	over := f.copies == 0
	f.mu.Unlock()
	if !over {
		return
	}
	for _, l := range f.leases {
		l.Release()
	}
	clear(f.leases)
	clear(f.spans)
	f.leases, f.spans = f.leases[:0], f.spans[:0]
}

// note counts bytes that are resident.
func (f *filling) note(s *cache.Segment) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.came(s.Path, s.Why, s.Len)
	f.Resident += s.Len
}

// came counts bytes, and by which path they came. With mu.
func (f *filling) came(p uapi.Path, why uapi.Reason, n int64) {
	if f.Bytes == 0 || p < f.Path {
		f.Path, f.Why = p, why
	}
	f.Bytes += n
	f.paths[p] += n
}

// Complete implements [transport.Completer]: nobody writes to the requests' places any
// more.
func (f *filling) Complete(done []transport.Completion) {
	f.buf.table.ended.Add(int64(len(done)))
	f.turn.Release(int64(len(done)))
	f.mu.Lock()
	for i := range done {
		if c := &done[i]; c.Err == nil {
			f.came(c.Path, c.Why, c.Dst.Len)
		} else if f.err == nil {
			f.err = fmt.Errorf("transfer of %d bytes at %d: %w", c.Dst.Len, c.Off, c.Err)
		}
		f.free = append(f.free, done[i].Request)
	}
	f.ended(len(done))
}

func (f *filling) onCopied(err error) {
	f.mu.Lock()
	f.copies--
	if f.err == nil {
		f.err = err
	}
	f.ended(1)
}

// ended counts what has ended, with mu, which it gives up.
func (f *filling) ended(n int) {
	f.pending -= n
	f.steps += n
	last := f.left && f.pending == 0
	f.mu.Unlock()
	if last {
		f.finish()
		return
	}
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// await returns nil once so many requests are in no use, and no gather is under way if
// those are all, or one has failed.
func (f *filling) await(ctx context.Context, idle int) error {
	err := f.sleep(ctx, func() bool {
		return f.err != nil || len(f.free) >= idle && (idle < window || f.pending == 0)
	})
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// awaitTurn waits until one more request may be under way, as long as any into a buffer
// ends meanwhile.
func (f *filling) awaitTurn(ctx context.Context) error {
	t := f.buf.table
	for {
		seen := t.ended.Load()
		within, cancel := context.WithTimeout(ctx, t.cfg.Timeout)
		err := f.turn.Wait(within, 1)
		cancel()
		switch {
		case err == nil || !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil:
			return err
		case t.ended.Load() == seen:
			return fmt.Errorf("%w: no transfer into a buffer has ended for %v", cache.ErrOverdue, t.cfg.Timeout)
		}
	}
}

// sleep returns nil once it is so, which ready says with mu.
func (f *filling) sleep(ctx context.Context, ready func() bool) error {
	steps := -1
	defer f.timer.Stop()
	for {
		f.mu.Lock()
		is, now := ready(), f.steps
		f.mu.Unlock()
		if is {
			return nil
		}
		if now != steps {
			steps = now
			f.timer.Reset(f.buf.table.cfg.Timeout)
		}
		select {
		case <-f.wake:
		case <-ctx.Done():
			return ctx.Err()
		case <-f.timer.C:
			return fmt.Errorf("%w: nothing came for %v", cache.ErrOverdue, f.buf.table.cfg.Timeout)
		}
	}
}

// drain returns why the fill has failed once nothing is under way any more: who is told so
// may fill the place anew, and what comes late would be written over that. Where it can't
// wait for that, the error is the reason.
func (f *filling) drain(ctx context.Context, err error) error {
	if errors.Is(err, cache.ErrOverdue) {
		return err
	}
	if late := f.sleep(ctx, func() bool { return f.pending == 0 }); late != nil {
		return late
	}
	return err
}

// leaveBehind tells of what goes on after the caller's part, in n bytes of the buffer.
func (f *filling) leaveBehind(at, n int64) {
	f.mu.Lock()
	pending := f.pending
	f.mu.Unlock()
	if pending > 0 {
		f.stray = f.buf.leftBehind(at, n)
	}
}

// leave ends the caller's part, which was about n bytes of the buffer. What is under way
// ends by itself: after an error that is ctx's, or [cache.ErrOverdue].
func (f *filling) leave(ctx context.Context, err error, at, n int64) (outcome, error) {
	f.release()
	if unused := len(f.batch); unused > 0 { // that never began
		f.turn.Release(int64(unused))
	}
	f.mu.Lock()
	f.free = append(f.free, f.batch...)
	f.mu.Unlock()
	f.batch = f.batch[:0]
	if err != nil {
		err = f.drain(ctx, err)
	}
	f.leaveBehind(at, n)
	f.mu.Lock()
	if err == nil {
		err = f.err
	}
	got := f.outcome
	f.left = true
	last := f.pending == 0
	f.mu.Unlock()
	if last {
		f.finish()
	}
	if err != nil {
		return outcome{}, err
	}
	return got, nil
}

// finish gives back what the fill had. Nobody else has it any more.
func (f *filling) finish() {
	f.release()
	f.turn.Leave()
	if f.stray != nil {
		f.buf.strayEnded(f.stray)
		f.stray = nil
	}
	f.buf.Done()
	for i := range f.reqs {
		f.reqs[i].File, f.reqs[i].Dst = transport.FileRef{}, transport.Span{}
	}
	select {
	case <-f.wake:
	default:
	}
	f.buf, f.src, f.turn = nil, nil, nil
	f.left, f.err, f.steps, f.outcome = false, nil, 0, outcome{}
	fillings.Put(f)
}
