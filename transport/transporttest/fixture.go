package transporttest

import (
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"hbmfs/transport"
)

// patience is how long a test waits for what must come; reaching it is a
// failure.
const patience = 20 * time.Second

// fixture is a dialled link to a source.
type fixture struct {
	t         *testing.T
	source    *Source
	transport transport.Transport
	session   transport.Session
	link      transport.Link
}

func setUp(t *testing.T, h Harness, change ...func(*transport.Session)) *fixture {
	t.Helper()
	f := &fixture{t: t, source: NewSource()}
	f.transport, f.session = h.Start(t, f.source)
	f.dial(change...)
	return f
}

func (f *fixture) dial(change ...func(*transport.Session)) {
	f.t.Helper()
	f.session.Connections = 2
	f.session.Checksums = true
	f.session.Timeout = patience
	f.session.Why = transport.WhyRequested
	for _, c := range change {
		c(&f.session)
	}
	link, err := f.transport.Dial(f.t.Context(), f.session)
	if err != nil {
		f.t.Fatal(err)
	}
	f.link = link
	f.t.Cleanup(func() { link.Close() })
}

// flight is a request under way.
type flight struct {
	transport.Request
	done  atomic.Int32 // how often Done was called
	ended chan transport.Result
}

// request makes a request that was not submitted yet.
func request(file transport.FileRef, off int64, dst transport.Span) *flight {
	fl := &flight{ended: make(chan transport.Result, 2)}
	fl.Request = transport.Request{File: file, Off: off, Dst: dst, Done: func(r transport.Result) {
		fl.done.Add(1)
		fl.ended <- r
	}}
	return fl
}

// host makes a request for n bytes into memory of its own.
func host(file transport.FileRef, off, n int64) *flight {
	mem := make(transport.HostMemory, n)
	Scribble(mem)
	return request(file, off, transport.Span{Mem: mem, Len: n})
}

// submit insists until the link has taken every flight.
func (f *fixture) submit(flights ...*flight) {
	f.t.Helper()
	reqs := make([]*transport.Request, len(flights))
	for i, fl := range flights {
		reqs[i] = &fl.Request
	}
	until := time.Now().Add(patience)
	for len(reqs) > 0 {
		n, err := f.link.Submit(reqs)
		if err != nil {
			f.t.Fatalf("submit: %v", err)
		}
		if reqs = reqs[n:]; n == 0 {
			breathe(f.t, until)
		}
	}
}

// breathe is a turn of a loop that waits for others.
func breathe(t *testing.T, until time.Time) {
	t.Helper()
	if time.Now().After(until) {
		t.Fatalf("nothing happened for %v", patience)
	}
	time.Sleep(100 * time.Microsecond)
}

// wait returns how fl ended.
func (f *fixture) wait(fl *flight) transport.Result {
	f.t.Helper()
	select {
	case r := <-fl.ended:
		return r
	case <-time.After(patience):
		f.t.Fatalf("no Done for %d bytes at %d of file %d within %v", fl.Dst.Len, fl.Off, fl.File.Handle, patience)
		return transport.Result{}
	}
}

// fetch submits fl and returns how it ended.
func (f *fixture) fetch(fl *flight) transport.Result {
	f.t.Helper()
	f.submit(fl)
	return f.wait(fl)
}

// good fails the test unless fl brought the right bytes into host memory, and
// says rightly how.
func (f *fixture) good(fl *flight, r transport.Result) {
	f.t.Helper()
	if r.Err != nil {
		f.t.Fatalf("%d bytes at %d: %v", fl.Dst.Len, fl.Off, r.Err)
	}
	if err := Check(fl.bytes(), fl.File, fl.Off); err != nil {
		f.t.Fatal(err)
	}
	f.told(fl.Dst.Mem, r)
}

// told checks what a success says of its path.
func (f *fixture) told(mem transport.Memory, r transport.Result) {
	f.t.Helper()
	plan, err := f.transport.Plan(mem)
	if err != nil {
		f.t.Fatal(err)
	}
	want := f.session.Why
	if plan.Why != transport.WhyBest {
		want = plan.Why
	}
	if r.Path != plan.Path || r.Why != want {
		f.t.Errorf("came by %v (%v), planned: %v (%v)", r.Path, r.Why, plan.Path, want)
	}
	if device := mem.Bytes() == nil; device != (r.DeviceCopies == 1) && !plan.Path.Direct() {
		f.t.Errorf("%d copies on the device, memory of the device: %t", r.DeviceCopies, device)
	}
}

// failed fails the test unless fl ended with all of the errors, and none of the
// other sentinels.
func (f *fixture) failed(r transport.Result, want ...error) {
	f.t.Helper()
	for _, sentinel := range sentinels {
		if got := errors.Is(r.Err, sentinel); got != slices.Contains(want, sentinel) {
			f.t.Errorf("is %q: %t, for error: %v", sentinel, got, r.Err)
		}
	}
	if r.Path != transport.PathNone || r.HasCRC {
		f.t.Errorf("a failure that says how bytes came: %+v", r)
	}
}

var sentinels = []error{
	transport.ErrStale, transport.ErrRange, transport.ErrSource, transport.ErrUnknownFile, transport.ErrConnLost,
	transport.ErrStalled, transport.ErrSession, transport.ErrProtocol, transport.ErrChecksum, transport.ErrRevoked,
	transport.ErrClosed, transport.ErrUnavailable,
}

// bytes is what fl's host memory holds where the payload belongs.
func (fl *flight) bytes() []byte {
	return fl.Dst.Mem.Bytes()[fl.Dst.Off : fl.Dst.Off+fl.Dst.Len]
}

// once fails the test unless each flight's Done was called once.
func (f *fixture) once(flights ...*flight) {
	f.t.Helper()
	for i, fl := range flights {
		if n := fl.done.Load(); n != 1 {
			f.t.Errorf("request %d of %d: Done was called %d times", i, len(flights), n)
		}
	}
}
