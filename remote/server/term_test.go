package server

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"hbmfs/remote/term"
	"hbmfs/remote/wire"
	"hbmfs/transport"
)

// handClock goes on only when it is told to.
type handClock struct{ now atomic.Int64 }

func (c *handClock) read() time.Duration { return time.Duration(c.now.Load()) }

func (c *handClock) pass(d time.Duration) { c.now.Add(int64(d)) }

// held is longer than a term: a writer that waits so long is held by something.
const held = term.Length + 300*time.Millisecond

// writer opens the file for writing, which goes on once its lease is given up.
func (r *rig) writer(name string) (done chan struct{}) {
	done = make(chan struct{})
	go func() {
		defer close(done)
		openForWriting(r.t, r.path(name)).Close()
	}()
	return done
}

func (r *rig) isHeld(writer chan struct{}, why string) {
	r.t.Helper()
	select {
	case <-writer:
		r.t.Errorf("the writer went on: %s", why)
	case <-time.After(held):
	}
}

func (r *rig) goesOn(writer chan struct{}, why string) {
	r.t.Helper()
	select {
	case <-writer:
	case <-time.After(patience):
		r.t.Fatalf("the writer still waits: %s", why)
	}
}

// quiet is a mount that acknowledges nothing, and has a file open under a term.
func (r *rig) quiet(ctx context.Context, name string) (*mount, transport.FileRef) {
	r.t.Helper()
	m := r.session()
	m.attachIn(ctx, false)
	ref, reply := m.open(name)
	if !reply.Settled || reply.TermMs != uint32(term.Length.Milliseconds()) {
		r.t.Fatalf("opened settled %v, with a term of %d ms", reply.Settled, reply.TermMs)
	}
	return m, ref
}

// TestTermHoldsWriter: by the target's clock, and not a moment less.
func TestTermHoldsWriter(t *testing.T) {
	var clock handClock
	r := newRigWith(t, Config{Clock: clock.read})
	r.write("f", 1, 1, fileSize)
	m, ref := r.quiet(t.Context(), "f")
	writer := r.writer("f")
	if e := m.event(); e.Handle != ref.Handle {
		t.Fatalf("an event about %d", e.Handle)
	}
	clock.pass(term.Length - 1)
	r.isHeld(writer, "the term has not passed")
	clock.pass(1)
	r.goesOn(writer, "the term has passed")
}

// TestAcknowledged: who has acknowledged holds up nobody.
func TestAcknowledged(t *testing.T) {
	var clock handClock
	r := newRigWith(t, Config{Clock: clock.read})
	r.write("f", 1, 1, fileSize)
	m := r.mount()
	m.openSettled("f")
	r.goesOn(r.writer("f"), "the mount has acknowledged")
}

// TestIdleMount costs a writer nothing, and keeps its session.
func TestIdleMount(t *testing.T) {
	var clock handClock
	r := newRigWith(t, Config{Clock: clock.read})
	r.write("f", 1, 1, fileSize)
	m, _ := r.quiet(t.Context(), "f")
	clock.pass(term.Length)
	r.goesOn(r.writer("f"), "the term had passed before")
	if _, err := m.stat("d", "f"); err != nil {
		t.Errorf("a mount that held up nobody: %v", err)
	}
}

// TestTermsInOrder: no answer that could overtake an event grants a term, and one
// on the stream comes after it.
func TestTermsInOrder(t *testing.T) {
	var clock handClock
	r := newRigWith(t, Config{Clock: clock.read})
	r.write("f", 1, 1, fileSize)
	m, ref := r.quiet(t.Context(), "f")
	writer := r.writer("f")
	e := m.event()
	if e.Handle != ref.Handle {
		t.Fatalf("an event about %d", e.Handle)
	}
	answer, err := m.call(t.Context(), stats("d", "f"))
	if err != nil || answer.GetStat().TermMs != 0 {
		t.Errorf("before the acknowledgement it is answered %v, %v", answer, err)
	}
	m.stream.Send(&wire.EventsRequest{Renew: 7})
	if a := m.event(); a.Renewed != 7 || a.TermMs != uint32(term.Length.Milliseconds()) || a.Id != 0 {
		t.Errorf("answer %v", a)
	}
	// The term of before the event holds the writer, and not the one of after.
	clock.pass(term.Length / 2)
	m.stream.Send(&wire.EventsRequest{Renew: 8})
	m.event()
	clock.pass(term.Length / 2)
	r.goesOn(writer, "the term that the mount had when it was told has passed")
}

// TestTermOutlivesSession: a mount whose connection is cut may be alive and vouch;
// one that says goodbye does not.
func TestTermOutlivesSession(t *testing.T) {
	var clock handClock
	r := newRigWith(t, Config{Clock: clock.read})
	for _, name := range []string{"cut", "goodbye"} {
		r.write(name, 1, 1, fileSize)
	}
	m, _ := r.quiet(t.Context(), "goodbye")
	m.stream.CloseSend()
	r.goesOn(r.writer("goodbye"), "the mount has said goodbye")

	ctx, cut := context.WithCancel(t.Context())
	m, _ = r.quiet(ctx, "cut")
	ended := r.target.session(transport.SessionID(m.id)).ended
	cut()
	<-ended
	writer := r.writer("cut")
	r.isHeld(writer, "the mount may vouch")
	clock.pass(term.Length)
	r.goesOn(writer, "the term has passed")
}

// TestSilentClientIsDoubted: it holds up a writer once, also if it comes back.
func TestSilentClientIsDoubted(t *testing.T) {
	var clock handClock
	r := newRigWith(t, Config{Clock: clock.read})
	r.write("f", 1, 1, fileSize)
	r.quiet(t.Context(), "f")
	writer := r.writer("f")
	r.isHeld(writer, "the first time")
	clock.pass(term.Length)
	r.goesOn(writer, "the first time is over")

	again := r.session()
	again.attach(false)
	ping := again.event()
	if ping.Id == 0 || ping.Handle != 0 {
		t.Errorf("a doubted mount is asked by %v", ping)
	}
	_, reply := again.open("f")
	if !reply.Settled || reply.TermMs != 0 {
		t.Errorf("a doubted mount is granted %d ms", reply.TermMs)
	}
	again.stream.Send(&wire.EventsRequest{Renew: 1})
	if a := again.event(); a.Renewed != 1 || a.TermMs != 0 {
		t.Errorf("a doubted mount's renewal is answered by %v", a)
	}
	r.goesOn(r.writer("f"), "a doubted mount has no term")
	again.event()

	again.stream.Send(&wire.EventsRequest{Ack: ping.Id})
	again.stream.Send(&wire.EventsRequest{Renew: 2})
	if a := again.event(); a.Renewed != 2 || a.TermMs == 0 {
		t.Errorf("a mount that acknowledges is granted %v", a)
	}
}

// TestDoubts is bounded, in number and time.
func TestDoubts(t *testing.T) {
	var clock handClock
	d := newDoubts(clock.read)
	d.add("first")
	for i := range maxDoubted {
		clock.pass(1)
		d.add(string(rune('a'+i%26)) + string(rune(i)))
	}
	if len(d.since) > maxDoubted || d.has("first") {
		t.Errorf("%d are remembered, the oldest: %v", len(d.since), d.has("first"))
	}
	d.add("last")
	if clock.pass(doubtFor); !d.has("last") {
		t.Error("forgotten too early")
	}
	if clock.pass(1); d.has("last") {
		t.Error("remembered too long")
	}
}

// TestLastMoment: a mount that was told when its term was nearly over, and
// acknowledges in time, is not one that does not.
func TestLastMoment(t *testing.T) {
	var clock handClock
	r := newRigWith(t, Config{Clock: clock.read})
	r.write("f", 1, 1, fileSize)
	m, _ := r.quiet(t.Context(), "f")
	clock.pass(term.Length - 1)
	writer := r.writer("f")
	e := m.event()
	clock.pass(1)
	r.goesOn(writer, "the term has passed")
	m.stream.Send(&wire.EventsRequest{Ack: e.Id})
	m.stream.Send(&wire.EventsRequest{Renew: 1})
	if a := m.event(); a.Renewed != 1 || a.TermMs == 0 {
		t.Errorf("the answer to a renewal after the acknowledgement: %v", a)
	}
	clock.pass(term.Length)
	if _, err := m.stat("d", "f"); err != nil {
		t.Errorf("a mount that has acknowledged: %v", err)
	}
}

// TestDoubtOfAllSessions: who has several sessions holds up a writer once, too.
func TestDoubtOfAllSessions(t *testing.T) {
	r := newRig(t)
	r.write("f", 1, 1, fileSize)
	var all []*mount
	for range 4 {
		m := r.session()
		m.attach(false)
		all = append(all, m)
	}
	r.write("f", 1, 2, fileSize)
	_, first := all[0].open("f")
	lost := r.target.session(transport.SessionID(all[0].id)).ended
	r.goesOn(r.writer("f"), "the term passes")
	<-lost
	for _, m := range all[1:] {
		if _, reply := m.open("f"); !reply.Settled || reply.TermMs != 0 {
			t.Errorf("another session of a doubted client is granted %d ms", reply.TermMs)
		}
	}
	if first.TermMs == 0 {
		t.Error("the first session had no term")
	}
}

// TestRenewalsWithoutEnd: who asks and does not listen loses its session, not the
// target its memory.
func TestRenewalsWithoutEnd(t *testing.T) {
	o := newOutbox(term.Boot)
	for id := range uint64(maxRenewals) {
		if err := o.renew(id + 1); err != nil {
			t.Fatalf("renewal %d: %v", id, err)
		}
	}
	if err := o.renew(1); err != errRenewals || len(o.take()) != maxRenewals {
		t.Errorf("one more: %v", err)
	}
	r := newRig(t)
	m := r.session()
	stream, err := m.client.Events(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ended := r.target.session(transport.SessionID(m.id)).ended
	if err := stream.Send(&wire.EventsRequest{Session: m.id}); err != nil {
		t.Fatal(err)
	}
	for id := uint64(1); stream.Send(&wire.EventsRequest{Renew: id}) == nil; id++ {
		select {
		case <-ended:
			return
		default:
		}
	}
	<-ended
}
