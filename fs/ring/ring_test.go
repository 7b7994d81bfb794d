package ring

import (
	"errors"
	"math"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"hbmfs/fs/uapi"
	"hbmfs/transport/limits"
)

func TestOperations(t *testing.T) {
	p := newProgram(t, 4, 100)
	f := newFakeFile(1000)
	file := p.register(f)
	copy(p.Names(), "a/b")
	fetch := uapi.RingOp{Op: uapi.RingFetch, File: file, Offset: 10, Length: 20, UserData: 5}
	hit := p.do(fetch)
	if hit.Error != 0 || hit.Handle == 0 || hit.Length != 20 || hit.RegionOffset != 10 || hit.Flags != uapi.RingHit || f.begun.Load() != 0 {
		t.Errorf("hit: %+v", hit)
	}
	fetch.Handle, fetch.Offset = hit.Handle, 2000
	miss := p.do(fetch)
	if miss.Error != 0 || miss.Handle == 0 || miss.Handle == hit.Handle || miss.Flags != 0 || f.held.Load() != 1 {
		t.Errorf("miss: %+v, and %d held", miss, f.held.Load())
	}
	named := fetch
	named.Handle, named.NameLength = 0, 3
	byName := p.do(named)
	if byName.Error != 0 || byName.Cursor != 3 {
		t.Errorf("by name: %+v", byName)
	}
	beyond := named
	beyond.Name = 98
	for what, c := range map[string]struct {
		op   uapi.RingOp
		want syscall.Errno
	}{
		"nop":                 {uapi.RingOp{}, 0},
		"unknown op":          {uapi.RingOp{Op: 77}, syscall.EINVAL},
		"used handle":         {fetch, syscall.ENOENT},
		"release":             {uapi.RingOp{Op: uapi.RingRelease, Handle: miss.Handle}, 0},
		"no handle":           {uapi.RingOp{Op: uapi.RingRelease}, syscall.ENOENT},
		"wild handle":         {uapi.RingOp{Op: uapi.RingRelease, Handle: math.MaxUint64}, syscall.ENOENT},
		"nothing to cancel":   {uapi.RingOp{Op: uapi.RingCancel, Handle: 1}, syscall.ENOENT},
		"no file":             {uapi.RingOp{Op: uapi.RingFetch, File: 99}, syscall.EBADF},
		"beyond the names":    {beyond, syscall.EINVAL},
		"what File is unable": {uapi.RingOp{Op: uapi.RingFetchInto, File: file}, syscall.EOPNOTSUPP},
	} {
		if d := p.do(c.op); syscall.Errno(d.Error) != c.want || c.want != 0 && d.Handle != 0 {
			t.Errorf("%s: %+v", what, d)
		}
	}
	if d := p.do(uapi.RingOp{Op: uapi.RingRelease, Handle: miss.Handle}); d.Error != uint16(syscall.ENOENT) {
		t.Errorf("released twice: %+v", d)
	}
	if f.held.Load() != 1 || f.users.Load() != 0 {
		t.Errorf("%d held, %d users", f.held.Load(), f.users.Load())
	}
	p.ring.Close()
	if f.held.Load() != 0 {
		t.Error("the ring has ended, and something is held")
	}
	p.ring.Close()
}

func TestFiles(t *testing.T) {
	p := newProgram(t, 2, 0)
	f, other := newFakeFile(1), newFakeFile(1)
	n := p.register(f)
	if p.ring.Remove(n, other) || p.ring.Remove(n, nil) || p.ring.Remove(n+1, nil) {
		t.Error("what was another's was removed")
	}
	if !p.ring.Remove(n, f) || p.ring.Remove(n, f) {
		t.Error("not removed once")
	}
	if d := p.do(uapi.RingOp{Op: uapi.RingFetch, File: n}); d.Error != uint16(syscall.EBADF) {
		t.Errorf("after its removal: %+v", d)
	}
	if again := p.register(f); again == n {
		t.Error("a number was used again")
	}
	if _, err := p.all.Of(8, p.ring.Number()); !errors.Is(err, syscall.EACCES) {
		t.Errorf("another user's: %v", err)
	}
	if _, err := p.all.Of(7, 99); !errors.Is(err, syscall.ENOENT) {
		t.Errorf("none: %v", err)
	}
	if r, err := p.all.Of(7, p.ring.Number()); err != nil || r != p.ring {
		t.Errorf("%v, %v", r, err)
	}
	p.ring.Close()
	if _, err := p.ring.Register(f); !errors.Is(err, syscall.ENOENT) {
		t.Errorf("after the end: %v", err)
	}
	if _, err := p.all.Of(7, p.ring.Number()); !errors.Is(err, syscall.ENOENT) {
		t.Errorf("after the end: %v", err)
	}
}

// TestCancel: one that is done, one that waits for its turn, and one that is gone.
func TestCancel(t *testing.T) {
	p := newProgram(t, 256, 0)
	f := newFakeFile(0)
	f.wait = make(chan struct{})
	file := p.register(f)
	const all, cancel = 200, 1000
	for i := range uint64(all) {
		p.put(uapi.RingOp{Op: uapi.RingFetch, File: file, UserData: i + 1})
	}
	p.submit()
	eventually(t, "some are under way, and others wait", func() bool { return f.begun.Load() == 32 })
	got, cancels := make(map[uint64]syscall.Errno), make(map[uint64]syscall.Errno)
	next := func() {
		if d := p.next(); d.UserData > cancel {
			cancels[d.UserData-cancel] = syscall.Errno(d.Error)
		} else {
			got[d.UserData] = syscall.Errno(d.Error)
		}
	}
	for _, userData := range []uint64{1, all, all + 1} {
		p.put(uapi.RingOp{Op: uapi.RingCancel, Handle: userData, UserData: cancel + userData})
		p.submit()
	}
	for len(got) < 2 || len(cancels) < 3 {
		next()
	}
	if cancels[1] != 0 || cancels[all] != 0 || cancels[all+1] != syscall.ENOENT {
		t.Errorf("%v", cancels)
	}
	close(f.wait)
	for len(got) < all {
		next()
	}
	for userData, errno := range got {
		if (errno == syscall.ECANCELED) != (userData == 1 || userData == all) || errno != 0 && errno != syscall.ECANCELED {
			t.Errorf("%d: %v", userData, errno)
		}
	}
	if f.users.Load() != 0 || f.held.Load() != all-2 {
		t.Errorf("%d users, %d held", f.users.Load(), f.held.Load())
	}
}

// TestEndWhileUnderWay: what is under way when the ring ends leaves nothing behind.
func TestEndWhileUnderWay(t *testing.T) {
	p := newProgram(t, 256, 0)
	f := newFakeFile(0)
	f.wait = make(chan struct{})
	file := p.register(f)
	for range 200 {
		p.put(uapi.RingOp{Op: uapi.RingFetch, File: file})
	}
	p.submit()
	eventually(t, "some are under way", func() bool { return f.begun.Load() == 32 })
	p.ring.Close()
	p.settled()
	if f.users.Load() != 0 || f.held.Load() != 0 || p.all.Stats().Open != 0 {
		t.Errorf("%d users, %d held, %+v", f.users.Load(), f.held.Load(), p.all.Stats())
	}
}

// TestNoOverflow: as many completions as fit are posted, and no submission is taken
// beyond that until the program has read some.
func TestNoOverflow(t *testing.T) {
	const entries = 8
	p := newProgram(t, entries, 0)
	for i := range uint64(3 * entries) {
		if i%entries == 0 {
			eventually(t, "submissions are taken", func() bool { return atomic.LoadUint32(&p.SubmissionHead) == p.submitted })
		}
		p.put(uapi.RingOp{UserData: i})
		p.submit()
	}
	eventually(t, "the ring is full", func() bool { return atomic.LoadUint32(&p.CompletionTail) == 2*entries })
	if taken := atomic.LoadUint32(&p.SubmissionHead); taken != 2*entries {
		t.Errorf("%d were taken", taken)
	}
	for i := range uint64(3 * entries) {
		if d := p.next(); d.UserData != i {
			t.Errorf("completion %d is of %d", i, d.UserData)
		}
	}
}

func TestRingsAreBounded(t *testing.T) {
	all := newTestRings()
	var rings []*Ring
	for {
		r, fds, err := all.New(Owner{UID: 7}, 1, 0)
		if errors.Is(err, limits.ErrLimit) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		closeAll(fds)
		rings = append(rings, r)
	}
	if len(rings) != 4 || all.Stats().Open != 4 {
		t.Errorf("%d rings, %+v", len(rings), all.Stats())
	}
	for _, r := range rings {
		r.Close()
	}
	all.finished.Wait()
	if r, fds, err := all.New(Owner{UID: 7}, 1, 0); err != nil || r.Number() != 5 {
		t.Errorf("another: %v", err)
	} else {
		closeAll(fds)
		r.Close()
		all.finished.Wait()
	}
}

func TestHandlesOfOld(t *testing.T) {
	var h held
	release := func(handle uint64) bool {
		lost, ok := h.release(handle)
		if lost != nil {
			t.Error(lost)
		}
		return ok
	}
	f := newFakeFile(0)
	f.held.Add(2)
	first := h.keep(&f.pin)
	if !release(first) || release(first) {
		t.Error("not released once")
	}
	if second := h.keep(&f.pin); second == first || release(first) || !release(second) {
		t.Error("an old handle is good for a new one")
	}
	f.held.Add(2)
	h.keep(&f.pin)
	h.close()
	if h.keep(&f.pin) != 0 || f.held.Load() != 0 {
		t.Errorf("%d are held after the end", f.held.Load())
	}
}

// TestCancelWhileNoneBegins: operations that were cancelled before they began are in
// nobody's way, however many.
func TestCancelWhileNoneBegins(t *testing.T) {
	p := newProgram(t, 4, 0)
	busy := p.all.cfg.Operations.Join("", 0)
	if err := busy.Acquire(64); err != nil {
		t.Fatal(err)
	}
	f := newFakeFile(0)
	fetch := uapi.RingOp{Op: uapi.RingFetch, File: p.register(f), UserData: 1}
	p.put(fetch)
	p.submit()
	fetch.UserData = 2
	for range 40 {
		p.put(fetch)
		p.put(uapi.RingOp{Op: uapi.RingCancel, Handle: fetch.UserData, UserData: 3})
		p.submit()
		for range 2 {
			if d := p.next(); d.UserData == 3 && d.Error != 0 || d.UserData == 2 && d.Error != uint16(syscall.ECANCELED) {
				t.Fatalf("%+v", d)
			}
		}
	}
	busy.Leave()
	if d := p.next(); d.UserData != 1 || d.Error != 0 || f.begun.Load() != 1 || f.users.Load() != 0 {
		t.Errorf("%+v, %d begun, %d users", d, f.begun.Load(), f.users.Load())
	}
}

// timedFile notes by when its operations had been submitted. During the first, another is.
type timedFile struct {
	*fakeFile
	since [4]atomic.Int64
	n     int // of the ring's thread
	more  func()
}

func (f *timedFile) Resident(op *uapi.RingOp, since time.Duration, got *Got) bool {
	f.since[f.n].Store(int64(since))
	if f.n++; f.n == 1 {
		f.more()
	}
	return f.fakeFile.Resident(op, since, got)
}

// TestClock: one look at it for all that is taken together, and none that is earlier than
// a submission.
func TestClock(t *testing.T) {
	p := newProgram(t, 4, 0)
	f := &timedFile{fakeFile: newFakeFile(1000)}
	op := uapi.RingOp{Op: uapi.RingFetch, File: 1, Length: 10}
	f.more = func() {
		p.Submit(3, &op)
		atomic.StoreUint32(&p.SubmissionTail, 4)
	}
	if n := p.register(f); n != op.File {
		t.Fatal(n)
	}
	for range 3 {
		p.put(op)
	}
	p.submit()
	for range 4 {
		if d := p.next(); d.Error != 0 {
			t.Fatalf("%+v", d)
		}
	}
	var s [4]int64
	for i := range s {
		s[i] = f.since[i].Load()
	}
	if s[0] != s[1] || s[1] != s[2] || s[3] <= s[2] {
		t.Errorf("the clock said %v", s)
	}
}

// TestGoroutinesAreKept: one after the other, operations that have to wait take few
// goroutines, and those wait for more.
func TestGoroutinesAreKept(t *testing.T) {
	p := newProgram(t, 4, 0)
	op := uapi.RingOp{Op: uapi.RingFetch, File: p.register(newFakeFile(0)), Length: 10}
	for range 1000 {
		if d := p.do(op); d.Error != 0 {
			t.Fatalf("%+v", d)
		}
	}
	if n := p.all.idle.Load(); n > 16 {
		t.Errorf("%d goroutines", n)
	}
}
