package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/test/bufconn"

	"hbmfs/remote/term"
	"hbmfs/transport"
	"hbmfs/transport/logging"
)

// Config is what a target serves, and how.
type Config struct {
	Exports []Export
	// TLS, if not nil, is for control and data connections alike. Whether
	// clients need a certificate is its ClientAuth.
	TLS *tls.Config
	// Insecure lets a target without TLS listen on more than loopback.
	Insecure bool
	Log      *slog.Logger // nil: none
	// DataPlaintext lets a target with TLS serve data planes that can't encrypt.
	DataPlaintext bool
	// Clock counts the terms that mounts have; nil: [term.Boot].
	Clock term.Clock
	// Planes are the data planes of connections that Serve takes; mounts are told of
	// those that can be served.
	Planes []transport.NewPlane
	// Transports are the data planes within this process, which mounts are told of
	// too.
	Transports []string
}

// Server serves exports to mounts.
type Server struct {
	cfg       Config
	exports   []*export
	doubts    *doubts
	bounds    *bounds
	control   *grpc.Server
	planes    []transport.Plane
	greetings []transport.Greeting // of all that connections may carry
	log       *logging.Limiter     // of what clients can cause
	remote    *connListener        // control connections that Serve took
	local     *bufconn.Listener    // and those of DialLocal
	serving   sync.WaitGroup
	ctx       context.Context // ends with Close
	cancel    context.CancelFunc

	revoking sync.WaitGroup // counts files that writers or terms hold

	mu       sync.RWMutex                     // guards all below
	served   []string                         // data planes
	sessions map[transport.SessionID]*session // nil once closed
}

// localBuffer is the size of an in-process control connection, in bytes.
const localBuffer = 256 << 10

// New opens the exports. The error names the export that can't be served, and
// why. A Server must be closed.
func New(cfg Config) (*Server, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Clock == nil {
		cfg.Clock = term.Boot
	}
	exports, err := openExports(cfg)
	if err != nil {
		return nil, err
	}
	t := &Server{
		cfg:      cfg,
		exports:  exports,
		doubts:   newDoubts(cfg.Clock),
		remote:   newConnListener(),
		local:    bufconn.Listen(localBuffer),
		sessions: make(map[transport.SessionID]*session),
	}
	t.log = logging.NewLimiter(cfg.Log)
	t.bounds = newBounds(raiseDescriptors(cfg.Log), t.log)
	t.ctx, t.cancel = context.WithCancel(context.Background())
	for _, f := range exports {
		go t.follow(f)
	}
	go t.watchUnlinked()
	t.greetings = []transport.Greeting{t.controlGreeting()}
	t.openPlanes()
	if cfg.TLS != nil {
		t.cfg.TLS = cfg.TLS.Clone()
		t.cfg.TLS.NextProtos = t.protocols()
	}
	t.served = cfg.Transports
	t.control = newControl(t)
	t.serving.Go(func() { _ = t.control.Serve(t.remote) })
	t.serving.Go(func() { _ = t.control.Serve(t.local) })
	return t, nil
}

func openExports(cfg Config) ([]*export, error) {
	if len(cfg.Exports) == 0 {
		return nil, errors.New("nothing to export: name at least one NAME=PATH")
	}
	var exports []*export
	for _, c := range cfg.Exports {
		e, err := c.open()
		if err == nil && slices.ContainsFunc(exports, func(o *export) bool { return o.Name == e.Name }) {
			e.cur.close()
			err = fmt.Errorf("export %q: the name is used twice", e.Name)
		}
		if err != nil {
			closeAll(exports)
			return nil, err
		}
		exports = append(exports, e)
	}
	return exports, nil
}

// closeAll closes what exports lead to that nobody follows.
func closeAll(exports []*export) {
	for _, e := range exports {
		e.cur.close()
	}
}

// DialLocal returns a control connection within this process: for a mount that
// runs a target of its own.
func (t *Server) DialLocal(ctx context.Context) (net.Conn, error) {
	return t.local.DialContext(ctx)
}

// Session implements [transport.Sessions].
func (t *Server) Session(id transport.SessionID) (transport.Admission, bool) {
	s := t.session(id)
	if s == nil {
		return transport.Admission{}, false
	}
	return transport.Admission{Secret: s.secret, Source: s, Client: s.peer}, true
}

func (t *Server) session(id transport.SessionID) *session {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.sessions[id]
}

// startSession makes a session for what these exports lead to. It lives for its
// grace, until its events stream begins.
func (t *Server) startSession(exports []*export, client, peer string) (*session, error) {
	place, err := t.bounds.sessions.Take(peer, 1)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errFull, err)
	}
	s := newSession(t, make(map[string]*dataset, len(exports)), client)
	s.peer, s.place = peer, place
	s.opened = t.bounds.handles.Join(peer, 0)
	s.end = func(why string) { t.endSession(s, why) }
	s.silent = func() { t.doubt(s) }
	if t.doubts.has(peer) {
		s.out.doubt()
	}
	if err := t.addSession(s, exports); err != nil {
		place.Leave()
		s.opened.Leave()
		return nil, err
	}
	return s, nil
}

func (t *Server) addSession(s *session, exports []*export) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.sessions == nil {
		return errClosing
	}
	for _, f := range exports {
		s.datasets[f.Name] = f.cur
	}
	s.grace = time.AfterFunc(freshGrace, func() { s.end("its events stream did not begin") })
	t.sessions[s.id] = s
	return nil
}

// attach begins the events stream of s. The session ends with it.
func (t *Server) attach(s *session) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.sessions[s.id] != s {
		return errNoSession
	}
	if s.attached {
		return errSecondStream
	}
	s.attached = true
	s.grace.Stop()
	return nil
}

func (t *Server) endSession(s *session, why string) {
	t.mu.Lock()
	known := t.sessions[s.id] == s
	delete(t.sessions, s.id)
	t.mu.Unlock()
	if known {
		s.why = why
		s.close()
		t.log.Log(slog.LevelInfo, "session closed", s.client, "client", s.client, "why", why)
	}
}

// doubt ends a session whose mount does not acknowledge changes, and gives its
// client no term before it has acknowledged something, in other sessions too.
func (t *Server) doubt(s *session) {
	t.doubts.add(s.peer)
	t.mu.RLock()
	for _, other := range t.sessions {
		if other.peer == s.peer {
			other.out.doubt()
		}
	}
	t.mu.RUnlock()
	s.end("its mount does not acknowledge changes")
}

// closeGrace bounds how long Close waits for calls under way.
const closeGrace = 2 * time.Second

// Close ends every session, connection and listener, and returns when nothing
// of the target is left.
func (t *Server) Close() error {
	t.mu.Lock()
	sessions := t.sessions
	t.sessions = nil
	t.mu.Unlock()
	if sessions == nil {
		return nil
	}
	t.cancel()
	err := t.closePlanes()
	hard := time.AfterFunc(closeGrace, t.control.Stop)
	t.control.GracefulStop()
	hard.Stop()
	t.serving.Wait()
	for _, s := range sessions {
		s.close()
	}
	t.log.Close()
	t.revoking.Wait()
	t.closeExports()
	return err
}
