package remote

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"google.golang.org/grpc"

	"hbmfs/remote/wire"
	"hbmfs/transport"
)

// session is one session with the target, and its link. It is replaced as a
// whole when either is lost.
type session struct {
	id         []byte
	secret     transport.Secret
	datasets   []Dataset
	transports []string
	link       transport.Link
	events     grpc.BidiStreamingClient[wire.EventsRequest, wire.Event]
	cancel     context.CancelFunc // ends events
	ended      chan struct{}      // closed when events have ended
	sending    sync.Mutex         // held to send on events, and for nothing else

	// Guarded by Target.mu.
	files   map[uint64]*File
	opening int                 // opens under way, whose handles are not known
	early   map[uint64]struct{} // handles that changed and may be of those
	closing []uint64            // handles to close
}

// maxEarly is how many handles an honest target changes before it has told them.
const maxEarly = 64 << 10

// goodbyeTimeout bounds how long Close waits for the target to end the session.
const goodbyeTimeout = time.Second

// openSession opens a session with its events stream, but no link.
func (t *Target) openSession(ctx context.Context) (*session, error) {
	req := &wire.OpenSessionRequest{Protocol: wire.Protocol, Client: clientName()}
	for _, name := range t.cfg.Datasets {
		req.Datasets = append(req.Datasets, []byte(name))
	}
	reply, err := t.control.OpenSession(ctx, req)
	if err != nil {
		return nil, fromStatus(err)
	}
	t.counters.roundTrips.Add(1)
	s, err := newSession(reply)
	if err != nil {
		return nil, err
	}
	if err := t.startEvents(ctx, s); err != nil {
		return nil, err
	}
	t.counters.sessions.Add(1)
	return s, nil
}

func clientName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	return fmt.Sprintf("%s pid %d", host, os.Getpid())
}

func newSession(reply *wire.OpenSessionReply) (*session, error) {
	if len(reply.Session) != len(transport.SessionID{}) || len(reply.Secret) != len(transport.Secret{}) {
		return nil, fmt.Errorf("%w: credentials of %d and %d bytes", transport.ErrProtocol, len(reply.Session), len(reply.Secret))
	}
	datasets, err := newDatasets(reply.Datasets)
	if err != nil {
		return nil, err
	}
	return &session{
		id:         reply.Session,
		secret:     transport.Secret(reply.Secret),
		datasets:   datasets,
		transports: reply.Transports,
		ended:      make(chan struct{}),
		files:      make(map[uint64]*File),
		early:      make(map[uint64]struct{}),
	}, nil
}

// startEvents returns once the target tells this session of changes.
func (t *Target) startEvents(ctx context.Context, s *session) error {
	streamCtx, cancel := context.WithCancel(t.ctx)
	stop := context.AfterFunc(ctx, cancel)
	stream, err := t.control.Events(streamCtx)
	if err == nil {
		err = stream.Send(&wire.EventsRequest{Session: s.id})
	}
	if err == nil {
		_, err = stream.Header()
	}
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		cancel()
		return fromStatus(err)
	}
	s.events, s.cancel = stream, cancel
	t.workers.Go(func() {
		defer close(s.ended)
		err := t.receiveEvents(s)
		t.fail(s, fmt.Errorf("%w: %w", transport.ErrConnLost, fromStatus(err)))
	})
	return nil
}

func (t *Target) receiveEvents(s *session) error {
	for {
		e, err := s.events.Recv()
		if err != nil {
			return err
		}
		f, err := t.eventFile(s, e.Handle)
		if err != nil {
			return err
		}
		if f != nil {
			t.cfg.Log.Debug("file changed", "dataset", f.dataset, "path", f.path, "why", e.Reason)
			f.expire()
		}
		if err := s.acknowledge(e.Id); err != nil {
			return err
		}
	}
}

func (s *session) acknowledge(event uint64) error {
	s.sending.Lock()
	defer s.sending.Unlock()
	return s.events.Send(&wire.EventsRequest{Ack: event})
}

// eventFile returns the file that has the handle, if it is still open. If it may
// be about to be, the handle is remembered.
func (t *Target) eventFile(s *session, handle uint64) (*File, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f := s.files[handle]
	if f != nil || s.opening == 0 {
		return f, nil
	}
	if len(s.early) == maxEarly {
		return nil, fmt.Errorf("%w: changes of %d files that are not open", transport.ErrProtocol, maxEarly)
	}
	s.early[handle] = struct{}{}
	return nil, nil
}

// opens counts opens that begin in s, or with -1 one whose handle is bound, or
// never will be.
func (t *Target) opens(s *session, n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s.opening += n; s.opening == 0 {
		clear(s.early)
	}
}

// dial makes the session's link, with the transport that was chosen.
func (t *Target) dial(ctx context.Context, s *session) (err error) {
	s.link, err = t.selection.Transport.Dial(ctx, transport.Session{
		Addr:        t.cfg.Addr,
		ID:          transport.SessionID(s.id),
		Secret:      s.secret,
		TLS:         t.cfg.TLS,
		Connections: t.cfg.Connections,
		Checksums:   t.cfg.Checksums,
		Why:         t.selection.Why,
		Timeout:     t.cfg.Timeout / 2, // so that one more try fits

		RequireDirect: t.cfg.RequireDirect,
	})
	return err
}

// abandon ends a session that was never installed.
func (s *session) abandon() {
	if s.link != nil {
		s.link.Close()
	}
	s.sayGoodbye()
}

// sayGoodbye ends the session at the target, if that answers, and its events.
func (s *session) sayGoodbye() {
	timer := time.AfterFunc(goodbyeTimeout, s.cancel)
	defer timer.Stop()
	s.sending.Lock()
	_ = s.events.CloseSend() // the stream may have ended
	s.sending.Unlock()
	<-s.ended
	s.cancel()
}
