package transporttest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hbmfs/fs/uapi"
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
	plans     map[transport.Memory]transport.Plan

	mu     sync.Mutex // guards what follows
	mapped *Mapped    // attached, for host
	used   int64      // of it
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
	for _, c := range change {
		c(&f.session)
	}
	link, err := f.transport.Dial(f.t.Context(), f.session)
	if err != nil {
		f.t.Fatal(err)
	}
	f.link = link
	f.plans = make(map[transport.Memory]transport.Plan)
	f.t.Cleanup(func() { link.Close() })
	f.mapped = NewMapped(mappedSize)
	f.attachTo(f.mapped)
}

// mappedSize is the memory that [fixture.host] takes from, in bytes.
const mappedSize = 16 * extent

// flight is a request under way.
type flight struct {
	transport.Request
	done  atomic.Int32 // how often it completed
	ended chan transport.Result
}

// request makes a request that was not submitted yet.
func request(file transport.FileRef, off int64, dst transport.Span) *flight {
	fl := &flight{ended: make(chan transport.Result, 2)}
	fl.Request = transport.Request{File: file, Off: off, Dst: dst, To: fl}
	return fl
}

// Complete implements [transport.Completer].
func (fl *flight) Complete(done []transport.Completion) {
	for _, c := range done {
		fl.done.Add(1)
		fl.ended <- c.Result
	}
}

// host makes a request for n bytes into attached memory that the CPU can address,
// which no other request has.
func (f *fixture) host(file transport.FileRef, off, n int64) *flight {
	f.t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.used+n > f.mapped.Size() {
		f.mapped, f.used = NewMapped(max(n, mappedSize)), 0
		f.attachTo(f.mapped)
	}
	f.used += n
	return request(file, off, transport.Span{Mem: f.mapped, Off: f.used - n, Len: n})
}

// wait returns how fl ended.
func (f *fixture) wait(fl *flight) transport.Result {
	f.t.Helper()
	select {
	case r := <-fl.ended:
		return r
	case <-time.After(patience):
		what := fmt.Sprintf("%d bytes at %d of file %d", fl.Dst.Len, fl.Off, fl.File.Handle)
		if fl.Call != nil {
			what = fmt.Sprintf("a call of %d bytes", len(fl.Call.Ask))
		}
		f.t.Fatalf("no completion of %s within %v", what, patience)
		return transport.Result{}
	}
}

// fetch submits fl and returns how it ended.
func (f *fixture) fetch(fl *flight) transport.Result {
	f.t.Helper()
	f.submit(fl)
	return f.wait(fl)
}

// good fails the test unless fl brought the right bytes into memory that the CPU
// can address, and says rightly how.
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
	plan := f.plans[mem]
	if r.Path != plan.Path || r.Why != plan.Why {
		f.t.Errorf("came by %v (%v), planned: %v (%v)", r.Path, r.Why, plan.Path, plan.Why)
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
	if r.Path != uapi.PathNone || r.HasCRC {
		f.t.Errorf("a failure that says how bytes came: %+v", r)
	}
}

var sentinels = []error{
	transport.ErrStale, transport.ErrRange, transport.ErrSource, transport.ErrUnknownFile, transport.ErrConnLost,
	transport.ErrStalled, transport.ErrSession, transport.ErrProtocol, transport.ErrChecksum, transport.ErrRevoked,
	transport.ErrClosed, transport.ErrUnavailable,
}

// bytes is what fl's memory holds where the payload belongs.
func (fl *flight) bytes() []byte {
	return fl.Dst.Mem.Bytes()[fl.Dst.Off : fl.Dst.Off+fl.Dst.Len]
}

// once fails the test unless each flight completed once.
func (f *fixture) once(flights ...*flight) {
	f.t.Helper()
	for i, fl := range flights {
		if n := fl.done.Load(); n != 1 {
			f.t.Errorf("request %d of %d: Done was called %d times", i, len(flights), n)
		}
	}
}
