package main

import (
	"fmt"
	"os"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"hbmfs/fs/uapi"
)

// Sizes of a board.
const (
	rootFiles = 24
	setFiles  = 300 // which loaders read
	files     = rootFiles + setFiles
	processes = 5
	threads   = 6 // of a process
	slots     = 1024
)

// board is memory that the driver and the readers share: what the files hold
// now, and what each reader is doing.
type board struct {
	over    atomic.Bool     // readers are to end
	killed  atomic.Int64    // when a target was last killed, by the monotonic clock
	revoked [2]atomic.Int64 // how often memory was to be taken away, and was
	belief  atomic.Int64    // for how long an old name may be believed, in nanoseconds
	files   [files]fileState
	threads [slots]threadState
}

// fileState says which version a file is in.
type fileState struct {
	// writes is twice the version that is complete, and odd while the next one is
	// being written.
	writes atomic.Uint64
	ended  [history]atomic.Int64 // when the latest versions were complete, by the monotonic clock
}

// history is of how many versions it is known when they were complete.
const history = 64

// complete is the latest version whose write was complete by now.
func (s *fileState) complete() uint64 { return s.writes.Load() / 2 }

// wrote says that the write that was begun is complete.
func (s *fileState) wrote() {
	s.ended[(s.complete()+1)%history].Store(int64(now()))
	s.writes.Add(1)
}

// completeBy is the latest version that was complete at a time; 0 if that was so long
// ago that nobody knows.
func (s *fileState) completeBy(at time.Duration) uint64 {
	newest := s.complete()
	for v := newest; v > 0 && newest-v < history-1; v-- {
		if time.Duration(s.ended[v%history].Load()) <= at {
			return v
		}
	}
	return 0
}

// threadState is what a thread of a reader does now, and has done.
type threadState struct {
	began   atomic.Int64 // of the operation under way, by the monotonic clock; 0: none
	what    atomic.Int32 // of the operations
	file    atomic.Int32
	done    [operations]atomic.Uint64
	fetched atomic.Uint64 // FETCHes that succeeded
	ringed  atomic.Uint64 // operations of rings that did
	placed  atomic.Uint64 // ranges that came into buffers
	told    atomic.Uint64 // revocations that rings told of
	errors  atomic.Uint64
	stale   atomic.Uint64
	away    atomic.Uint64 // flagged: the target does not answer
	unknown atomic.Uint64 // flagged: a writer may have it open
	full    atomic.Uint64 // FETCHes that found everything pinned

	checked [uapi.NumPaths]atomic.Uint64 // bytes in device memory, by the path that they came
	byRing  atomic.Uint64                // of them, those by a ring
	into    atomic.Uint64                // of them, those in a buffer
	hits    atomic.Uint64                // of them, those that were there already
	plain   atomic.Uint64                // bytes of plain reads
}

// operation is what a thread does.
type operation int32

const (
	opOpen operation = iota
	opFetch
	opRelease
	opRead
	opStat
	opRing   // make one, or wait for it
	opInto   // a range into a buffer
	opBatch  // many of them
	opBuffer // make one, or end it
	operations
)

func (o operation) String() string {
	return [...]string{"open", "FETCH", "RELEASE", "read", "fstat", "ring", "FETCH_INTO", "BATCH", "buffer"}[o]
}

func now() time.Duration {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &t) // it has no way to fail
	return time.Duration(t.Nano())
}

// leasesGone says that a target was killed so shortly before that its mounts may
// not know yet: its leases went with it, and for a term that is no fault.
func (b *board) leasesGone(began time.Duration) bool {
	killed := time.Duration(b.killed.Load())
	return killed > 0 && began < killed+term
}

// term is for how long a mount may vouch without asking.
const term = 500 * time.Millisecond

// begin notes what the thread begins; the returned function that it has ended.
func (s *threadState) begin(what operation, file int) (end func()) {
	s.what.Store(int32(what))
	s.file.Store(int32(file))
	s.began.Store(int64(now()))
	return func() {
		s.began.Store(0)
		s.done[what].Add(1)
	}
}

// mapBoard maps the board in the file of that name, which has its size.
func mapBoard(name string) (*board, error) {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size := int(unsafe.Sizeof(board{}))
	mem, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("mmap %s: %w", name, err)
	}
	return (*board)(unsafe.Pointer(&mem[0])), nil
}

// newBoard makes one that every user may map.
func newBoard(name string) (*board, error) {
	if err := os.WriteFile(name, make([]byte, unsafe.Sizeof(board{})), 0o666); err != nil {
		return nil, err
	}
	if err := os.Chmod(name, 0o666); err != nil {
		return nil, err
	}
	return mapBoard(name)
}
