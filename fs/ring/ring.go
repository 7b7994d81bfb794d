// Package ring serves rings: memory that a program and this process both map, by which
// operations are asked for and answered. It owns that memory, the two eventfds that wake
// either side, a thread for each ring that takes what is submitted, the files that are
// registered with a ring, and what its operations pin.
//
// It does not fetch: a [File] does, at once or in a goroutine of its operation. It knows
// of no FUSE, and of no cache.
//
// A program may write anything into its ring, at any time, and do what it likes to the
// eventfds. So an entry is copied once, and only the copy is looked at; of the program's
// counters nothing is believed but that they lie in the range that is possible, and a
// ring whose counters don't is ended ([Ring.Close]). Nothing that has to end waits for
// the eventfds: see thread.go and wake.go.
//
// Operations that can be answered without waiting are answered by the ring's thread, and
// allocate nothing. The others wait in a queue, from which one goroutine begins them, as
// their user's share of all that is under way allows.
//
// Locking: Ring.mu guards the completions and what is under way, files.mu the registered
// files, held.mu what is pinned, Rings.mu the rings of a mount. None is taken with
// another held but files.mu before the locks of a File, and none is held over a call
// that waits.
package ring

import (
	"context"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"hbmfs/fs/creds"
	"hbmfs/fs/handles"
	"hbmfs/fs/uapi"
	"hbmfs/transport/limits"
)

// Owner is who made the connection that a ring was made on. That is whose a ring is.
type Owner struct {
	UID, GID, PID uint32
	// Creds are what he may open files by; CredsErr is not nil where that can't be told.
	Creds    creds.Creds
	CredsErr error
}

// File is an open file or directory that operations of a ring name. Its methods may be
// called concurrently.
type File interface {
	// Retain keeps it usable until Release, whatever becomes of its registration.
	Retain()
	Release()
	// Resident does an operation, with no name, that can be done without waiting, and
	// reports whether it did. It allocates nothing. The operation had been submitted by
	// since, a time of [Config.Clock].
	Resident(op *uapi.RingOp, since time.Duration, got *Got) bool
	// Fetch does an operation, of which name is a copy, "" for none.
	Fetch(ctx context.Context, op *uapi.RingOp, name string) (Got, syscall.Errno)
}

// Got is what an operation has fetched.
type Got struct {
	Held handles.Held // nil: nothing is pinned
	Done uapi.RingDone
}

// drainEvery is after how long the end of a ring takes a write to the program's eventfd
// for one that waits for the program.
const drainEvery = 10 * time.Millisecond

// Ring is one ring.
type Ring struct {
	Owner
	all    *Rings
	number uint32
	mem    memory
	ctx    context.Context // of its operations: over when the ring has ended
	cancel context.CancelFunc
	closed atomic.Bool
	files  files
	held   held
	share  *limits.Share // of the rings
	turn   *limits.Share // of the operations that are under way

	// The thread's own.
	taken  uint32        // submissions
	reaped uint32        // completions, by the program
	op     uapi.RingOp   // that is being answered
	since  time.Duration // of the clock; it had been submitted by then
	got    Got
	ready  chan *operation // from begin to who is idle

	mu       sync.Mutex
	posted   atomic.Uint32 // completions; written with mu
	underWay []*operation  // guarded by mu
	queue    []*operation  // guarded by mu; of those under way, that are to begin
	queued   sync.Cond     // of mu: there is something in queue, or served
	served   bool          // guarded by mu; nothing comes into queue any more
	ended    bool          // guarded by mu; nothing is posted any more
	onEnd    func()        // guarded by mu; nil: nobody is to be told

	signals atomic.Int64 // that are to be written to the program's eventfd
	running sync.WaitGroup
}

// Number is what programs name the ring by.
func (r *Ring) Number() uint32 { return r.number }

// Len is the length of the ring's memory, in bytes.
func (r *Ring) Len() int { return len(r.mem.mapped) }

// OnEnd has fn called once the ring has ended, by whoever ends it: a program may, by what
// it writes into the ring.
func (r *Ring) OnEnd(fn func()) {
	r.mu.Lock()
	ended := r.ended
	r.onEnd = fn
	r.mu.Unlock()
	if ended {
		fn()
	}
}

// Close ends the ring, and returns at once. Operations that are under way are cancelled,
// and what the ring had fetched is released, now or as soon as it is there. A second
// Close does nothing.
func (r *Ring) Close() { r.end(0) }

// end ends the ring, and shows the program the flags.
func (r *Ring) end(flags uint32) {
	if r.closed.Swap(true) {
		return
	}
	r.all.remove(r)
	r.cancel()
	r.mu.Lock()
	r.ended = true
	atomic.StoreUint32(&r.mem.SubmissionFlags, flags|uapi.RingNeedWakeup)
	told := r.onEnd
	r.mu.Unlock()
	if told != nil {
		told()
	}
	r.running.Go(r.signal) // the program may sleep
	r.mem.wakeThread()
	r.files.close()
	r.held.close()
	go r.finish()
}

// finish gives the memory back once nobody looks at it any more.
func (r *Ring) finish() {
	idle := make(chan struct{})
	go func() {
		r.running.Wait()
		r.signal() // the program may sleep
		close(idle)
	}()
	for done := false; !done; {
		select {
		case <-idle:
			done = true
		case <-time.After(drainEvery):
			r.mem.drain()
		}
	}
	r.mem.close()
	r.turn.Leave()
	r.share.Leave()
	r.all.finished.Done()
}
