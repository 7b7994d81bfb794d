package ring

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hbmfs/fs/uapi"
)

// broken waits until the mount has ended the ring, and nothing of it is left.
func (p *program) broken() {
	p.t.Helper()
	eventually(p.t, "the ring is broken", func() bool { return atomic.LoadUint32(&p.SubmissionFlags)&uapi.RingBroken != 0 })
	p.settled()
	if !p.ended.Load() || p.all.Stats().Open != 0 {
		p.t.Errorf("it has not ended: %+v", p.all.Stats())
	}
}

// TestWildCounters: a counter that is impossible ends the ring, and releases what it
// pinned.
func TestWildCounters(t *testing.T) {
	for name, spoil := range map[string]func(*program){
		"tail beyond": func(p *program) { atomic.StoreUint32(&p.SubmissionTail, p.submitted+5) },
		"tail back":   func(p *program) { atomic.StoreUint32(&p.SubmissionTail, p.submitted-1) },
		"tail far":    func(p *program) { atomic.StoreUint32(&p.SubmissionTail, 1<<31) },
		"completions": func(p *program) { atomic.StoreUint32(&p.CompletionHead, p.read+1) },
		"not completed": func(p *program) {
			slow := newFakeFile(0)
			slow.wait = make(chan struct{})
			p.put(uapi.RingOp{Op: uapi.RingFetch, File: p.register(slow)})
			p.submit()
			eventually(p.t, "it is under way", func() bool { return slow.begun.Load() == 1 })
			atomic.StoreUint32(&p.CompletionHead, p.read+1)
		},
		"completions far": func(p *program) { atomic.StoreUint32(&p.CompletionHead, 1<<31) },
		"read backwards":  func(p *program) { atomic.StoreUint32(&p.CompletionHead, p.read-2) },
	} {
		t.Run(name, func(t *testing.T) {
			p := newProgram(t, 4, 0)
			f := newFakeFile(1000)
			if d := p.do(uapi.RingOp{Op: uapi.RingFetch, File: p.register(f)}); d.Error != 0 || f.held.Load() != 1 {
				t.Fatalf("%+v", d)
			}
			// Until the mount has seen that it was read.
			p.do(uapi.RingOp{})
			spoil(p)
			writeEventfd(p.wakes, 1)
			p.broken()
			if f.held.Load() != 0 {
				t.Errorf("%d are held", f.held.Load())
			}
		})
	}
}

// TestConstantsAreNotBelieved: what the mount wrote once it never reads again.
func TestConstantsAreNotBelieved(t *testing.T) {
	p := newProgram(t, 4, 8)
	ring := *p.Ring
	for i, word := range []*uint32{
		&p.Size, &p.Entries, &p.CompletionEntries, &p.SubmissionsOffset, &p.CompletionsOffset, &p.NamesOffset, &p.NameBytes, &p.Ring.Ring,
		&p.SubmissionHead, &p.CompletionTail,
	} {
		atomic.StoreUint32(word, 0xffffffff)
		if i < 8 {
			p.do(uapi.RingOp{UserData: uint64(i)})
		}
	}
	p.Entries, p.CompletionTail = ring.Entries, p.read
	p.put(uapi.RingOp{UserData: 77})
	p.submit()
	eventually(t, "it goes on from its own counters", func() bool {
		return atomic.LoadUint32(&p.CompletionTail) == p.read+1 && p.Completion(p.read).UserData == 77
	})
}

// TestEntriesAreReadOnce: a program that rewrites entries and names while they are read
// gets what was checked, or an error, and nothing else.
func TestEntriesAreReadOnce(t *testing.T) {
	const entries, names = 16, 64
	p := newProgram(t, entries, names)
	f := &checkingFile{t: t, names: names}
	file := p.register(f)
	var stop atomic.Bool
	var scribbler sync.WaitGroup
	scribbler.Go(func() {
		random := rand.New(rand.NewPCG(1, 1))
		for !stop.Load() {
			op := uapi.RingOp{
				Op: uint16(random.IntN(3)), Flags: uint16(random.IntN(16)), File: file, Offset: random.Uint64() >> random.IntN(64),
				Length: random.Uint64() >> random.IntN(64), Name: uint32(random.IntN(2 * names)), NameLength: uint16(random.IntN(2 * names)),
			}
			p.Submit(uint32(random.IntN(entries)), &op)
			p.Names()[random.IntN(names)] = byte(random.IntN(256))
		}
	})
	for range 5000 {
		p.submitted++
		p.submit()
		p.next()
	}
	stop.Store(true)
	scribbler.Wait()
}

// checkingFile fails the test if an operation was not checked.
type checkingFile struct {
	t     *testing.T
	names int
}

func (f *checkingFile) Retain()  {}
func (f *checkingFile) Release() {}

func (f *checkingFile) Resident(op *uapi.RingOp, _ time.Duration, _ *Got) bool {
	if err := op.Check(); err != nil {
		f.t.Errorf("%+v: %v", op, err)
	}
	return op.Offset&1 == 0
}

func (f *checkingFile) Fetch(_ context.Context, op *uapi.RingOp, name string) (Got, syscall.Errno) {
	if err := op.Check(); err != nil || len(name) != int(op.NameLength) || len(name) > f.names {
		f.t.Errorf("%+v with %q: %v", op, name, err)
	}
	return Got{}, 0
}

// TestEventfds: whatever a program does to its eventfds, it is served, or hurts itself
// only, and its ring ends.
func TestEventfds(t *testing.T) {
	saturate := func(fd int) {
		_ = unix.SetNonblock(fd, true)
		writeEventfd(fd, ^uint64(1))
		writeEventfd(fd, ^uint64(1))
	}
	for name, c := range map[string]struct {
		spoil  func(p *program)
		served bool
	}{
		"drained":            {func(p *program) { drain(p.wakes); drain(p.wakesMe) }, true},
		"wakes without work": {func(p *program) { writeEventfd(p.wakes, 1); writeEventfd(p.wakes, 1) }, true},
		"nonblocking":        {func(p *program) { _ = unix.SetNonblock(p.wakes, true); _ = unix.SetNonblock(p.wakesMe, true) }, true},
		"saturated":          {func(p *program) { saturate(p.wakes); saturate(p.wakesMe) }, false},
		"saturated, and blocking": {func(p *program) {
			saturate(p.wakesMe)
			_ = unix.SetNonblock(p.wakesMe, false)
		}, false},
		"closed": {func(p *program) { unix.Close(p.wakesMe); p.wakesMe = -1 }, false},
	} {
		t.Run(name, func(t *testing.T) {
			p := newProgram(t, 4, 0)
			c.spoil(p)
			if c.served {
				for range 10 {
					p.do(uapi.RingOp{})
				}
			}
			// One that has the mount write the program's eventfd, and perhaps wait there.
			atomic.StoreUint32(&p.CompletionFlags, uapi.RingNeedWakeup)
			p.put(uapi.RingOp{})
			p.submit()
			time.Sleep(10 * time.Millisecond)
			p.ring.Close()
			p.settled()
		})
	}
}

func drain(fd int) {
	_ = unix.SetNonblock(fd, true)
	var b [8]byte
	_, _ = unix.Read(fd, b[:])
	_ = unix.SetNonblock(fd, false)
}

// TestWakeups: both sides sleep again and again, and no wake-up is lost.
func TestWakeups(t *testing.T) {
	p := newProgram(t, 4, 0)
	f := newFakeFile(1 << 40)
	slow := newFakeFile(0)
	files := []uint32{p.register(f), p.register(slow)}
	random := rand.New(rand.NewPCG(2, 2))
	n := 30_000
	if testing.Short() {
		n = 3000
	}
	for done := 0; done < n; {
		batch := 1 + random.IntN(4)
		for range batch {
			p.put(uapi.RingOp{Op: uapi.RingFetch, File: files[min(1, random.IntN(16)/15)], Offset: 1})
		}
		p.submit()
		if random.IntN(8) == 0 {
			time.Sleep(time.Duration(random.IntN(50)) * time.Microsecond)
		}
		for range batch {
			d := p.next()
			if _, ok := p.ring.held.release(d.Handle); d.Error != 0 || !ok {
				t.Fatalf("%+v", d)
			}
			done++
		}
	}
}

// TestWakeupsAtTwoEnds: one goroutine submits and another reads, with a ring that is full
// most of the time.
func TestWakeupsAtTwoEnds(t *testing.T) {
	p := newProgram(t, 2, 0)
	const n = 20_000
	go func() {
		for i := range uint32(n) {
			for i-atomic.LoadUint32(&p.SubmissionHead) >= p.Submissions() {
				time.Sleep(time.Microsecond)
			}
			op := uapi.RingOp{UserData: uint64(i)}
			p.Submit(i, &op)
			atomic.StoreUint32(&p.SubmissionTail, i+1)
			p.wakeIfAsleep()
		}
	}()
	for i := range uint64(n) {
		p.await()
		if d := p.Completion(p.read); d.UserData != i {
			t.Fatalf("completion %d is of %d", i, d.UserData)
		}
		p.read++
		atomic.StoreUint32(&p.CompletionHead, p.read)
		if atomic.LoadUint32(&p.SubmissionTail) != atomic.LoadUint32(&p.SubmissionHead) {
			p.wakeIfAsleep()
		}
	}
}

// FuzzMemory scribbles on a ring while operations run. Nothing may crash, and all must be
// given back.
func FuzzMemory(f *testing.F) {
	f.Add([]byte{64, 0, 1, 128, 0, 2, 0, 0, 0}, uint16(64))
	f.Add([]byte("submission_tail, and all that follows it"), uint16(320))
	f.Fuzz(func(t *testing.T, script []byte, at uint16) {
		p := newProgram(t, 8, 32)
		fast, slow := newFakeFile(1<<20), newFakeFile(0)
		p.register(fast)
		p.register(slow)
		for i := range uint32(4) {
			p.put(uapi.RingOp{Op: uapi.RingFetch, File: 1 + i%2, Offset: uint64(i)})
		}
		p.submit()
		for i, b := range script {
			p.mapped[(int(at)+i*7)%len(p.mapped)] = b
			if i%4 == 0 {
				writeEventfd(p.wakes, 1)
			}
		}
		p.ring.Close()
		p.settled()
		if fast.held.Load() != 0 || slow.held.Load() != 0 || slow.users.Load() != 0 {
			t.Fatalf("%d and %d are held, and %d use the file", fast.held.Load(), slow.held.Load(), slow.users.Load())
		}
	})
}
