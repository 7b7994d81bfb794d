package remote

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"google.golang.org/grpc"

	"hbmfs/remote/links"
	"hbmfs/remote/namespace"
	"hbmfs/remote/term"
	"hbmfs/remote/wire"
	"hbmfs/transport"
)

// session is one session with the target, and its links. It is replaced as a whole
// when any of them is lost.
type session struct {
	id       []byte
	datasets []namespace.Dataset
	roots    map[string]namespace.Root
	link     transport.Link // the first: plain reads and calls go by it
	links    *links.Session
	term     *term.Renewer
	events   grpc.BidiStreamingClient[wire.EventsRequest, wire.Event]
	ctx      context.Context    // of what it has under way
	cancel   context.CancelFunc // ends that, and events
	ended    chan struct{}      // closed when events have ended
	sending  sync.Mutex         // held to send on events, and for nothing else
}

// maxKept bounds the files that stay open at the target though no program has them open.
const maxKept = 1 << 16

// goodbyeTimeout bounds how long Close waits for the target to end the session.
const goodbyeTimeout = 400 * time.Millisecond

// openSession opens a session with its events stream, but no link.
func (c *connector) openSession(ctx context.Context) (*session, error) {
	req := &wire.OpenSessionRequest{Protocol: wire.Protocol, Client: clientName()}
	for _, name := range c.cfg.Datasets {
		req.Datasets = append(req.Datasets, []byte(name))
	}
	reply, err := c.control.OpenSession(ctx, req)
	if err != nil {
		return nil, c.conn.Error(err)
	}
	c.counters.roundTrips.Add(1)
	s, err := newSession(reply)
	if err != nil {
		return nil, err
	}
	s.term = term.NewRenewer(c.cfg.Clock, s.renew)
	if err := c.startEvents(ctx, s); err != nil {
		return nil, err
	}
	closeAll(c.kept.SetRoom(int(min(reply.Keep, maxKept))))
	s.links = links.NewSession(s.ctx, c.toDial(reply), reply.Transports)
	c.counters.sessions.Add(1)
	return s, nil
}

// toDial is by what links of the session are made.
func (c *connector) toDial(reply *wire.OpenSessionReply) transport.Session {
	return transport.Session{
		Addr:        c.cfg.Addr,
		ID:          transport.SessionID(reply.Session),
		Secret:      transport.Secret(reply.Secret),
		TLS:         c.cfg.TLS,
		Connections: c.cfg.Connections,
		Checksums:   c.cfg.Checksums,
		Timeout:     c.cfg.Timeout / 2, // so that one more try fits

		RequireDirect: c.cfg.RequireDirect,
	}
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
	datasets, err := namespace.DecodeDatasets(reply.Datasets)
	if err != nil {
		return nil, err
	}
	roots, err := namespace.DecodeRoots(reply.Datasets)
	if err != nil {
		return nil, err
	}
	return &session{
		id:       reply.Session,
		datasets: datasets,
		roots:    roots,
		ended:    make(chan struct{}),
	}, nil
}

// abandon ends a session that was never installed.
func (s *session) abandon() {
	s.links.Close()
	s.goodbye()
}

// goodbye ends the session at the target, if that answers, and its events.
func (s *session) goodbye() {
	s.term.End() // the target lets writers go when it hears of it
	timer := time.AfterFunc(goodbyeTimeout, s.cancel)
	defer timer.Stop()
	s.sending.Lock()
	_ = s.events.CloseSend() // the stream may have ended
	s.sending.Unlock()
	<-s.ended
	s.cancel()
}
