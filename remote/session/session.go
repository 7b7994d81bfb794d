// Package session is what a mount has of its sessions with a target: of each its links,
// its term and its stream of events; and which one is current, or why none is. It never
// makes a session, asks nothing but for a term, and knows no file and no request.
//
// Locking: Current.mu guards what says so in it, and is held over calls of package
// outage, and of a links.Session for counters, only. Session.sending is for messages on
// the stream of events, one of which may be sent at a time.
package session

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc"

	"hbmfs/remote/control"
	"hbmfs/remote/links"
	"hbmfs/remote/namespace"
	"hbmfs/remote/term"
	"hbmfs/remote/wire"
	"hbmfs/transport"
)

// Session is one session with the target, and its links. It is replaced as a whole
// when any of them is lost.
type Session struct {
	ID       []byte
	Datasets []namespace.Dataset
	Roots    map[string]namespace.Root
	Link     transport.Link // the first: plain reads and calls go by it
	Links    *links.Session
	Term     *term.Renewer

	events  grpc.BidiStreamingClient[wire.EventsRequest, wire.Event]
	ctx     context.Context    // of what it has under way
	cancel  context.CancelFunc // ends that, and events
	ended   chan struct{}      // closed when events have ended
	sending sync.Mutex         // held to send on events, and for nothing else
}

// goodbyeTimeout bounds how long [Session.Goodbye] waits for the target to end the
// session.
const goodbyeTimeout = 400 * time.Millisecond

// New returns the session that a reply starts, without links and events.
func New(reply *wire.OpenSessionReply, clock term.Clock) (*Session, error) {
	if len(reply.Session) != len(transport.SessionID{}) || len(reply.Secret) != len(transport.Secret{}) {
		return nil, fmt.Errorf("%w: credentials of %d and %d bytes", transport.ErrProtocol, len(reply.Session), len(reply.Secret))
	}
	datasets, err := namespace.DecodeDatasets(reply.Datasets)
	if err != nil {
		return nil, err
	}
	roots, err := namespace.DecodeRoots(reply.Datasets)
	if err != nil {
		return nil, err
	}
	s := &Session{ID: reply.Session, Datasets: datasets, Roots: roots, ended: make(chan struct{})}
	s.Term = term.NewRenewer(clock, s.renew)
	return s, nil
}

// Listen returns once the target tells this session of changes, or ctx ends. Life is the
// mount's: what the session has under way ends with it.
func (s *Session) Listen(ctx, life context.Context, c wire.ControlClient) error {
	streamCtx, cancel := context.WithCancel(life)
	stop := context.AfterFunc(ctx, cancel)
	stream, err := c.Events(streamCtx)
	if err == nil {
		err = stream.Send(&wire.EventsRequest{Session: s.ID})
	}
	if err == nil {
		_, err = stream.Header()
	}
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		cancel()
		return control.Error(err)
	}
	s.events, s.ctx, s.cancel = stream, streamCtx, cancel
	return nil
}

// Receive calls take with each event, until that returns an error or the stream ends,
// and then lost with why. One goroutine does, for the life of the session.
func (s *Session) Receive(take func(*wire.Event) error, lost func(error)) {
	defer close(s.ended)
	err := control.Error(s.receive(take))
	s.Term.End()
	if !errors.Is(err, transport.ErrConnLost) {
		err = fmt.Errorf("%w: %w", transport.ErrConnLost, err)
	}
	lost(err)
}

func (s *Session) receive(take func(*wire.Event) error) error {
	for {
		e, err := s.events.Recv()
		if err != nil {
			return err
		}
		if err := take(e); err != nil {
			return err
		}
	}
}

// Context ends with what the session has under way.
func (s *Session) Context() context.Context { return s.ctx }

// Cancel ends that, and the events.
func (s *Session) Cancel() { s.cancel() }

// Ended is closed when the events have ended, and all know that.
func (s *Session) Ended() <-chan struct{} { return s.ended }

// Abandon ends a session that was never installed.
func (s *Session) Abandon() {
	s.Links.Close()
	s.Goodbye()
}

// Goodbye ends the session at the target, if that answers, and its events.
func (s *Session) Goodbye() {
	s.Term.End() // the target lets writers go when it hears of it
	timer := time.AfterFunc(goodbyeTimeout, s.cancel)
	defer timer.Stop()
	s.sending.Lock()
	_ = s.events.CloseSend() // the stream may have ended
	s.sending.Unlock()
	<-s.ended
	s.cancel()
}

// Acknowledge tells the target that an event was taken.
func (s *Session) Acknowledge(event uint64) error {
	s.sending.Lock()
	defer s.sending.Unlock()
	return s.events.Send(&wire.EventsRequest{Ack: event})
}

// renew asks for a term on the session's stream. If that fails, so has the
// session.
func (s *Session) renew(id uint64) {
	s.sending.Lock()
	defer s.sending.Unlock()
	_ = s.events.Send(&wire.EventsRequest{Renew: id})
}
