package target

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

	"hbmfs/transport"
	"hbmfs/transport/devmemtcp"
	"hbmfs/transport/rdma"
	"hbmfs/transport/tcp"
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
	// Transports are the data planes that mounts are told of from the start.
	// Serve adds those that it finds a device for.
	Transports []string
}

// Target serves exports to mounts.
type Target struct {
	cfg      Config
	datasets []*dataset
	files    *fileTable
	control  *grpc.Server
	data     *tcp.Server
	devmem   *devmemtcp.Server
	rdma     *rdma.Server
	remote   *connListener     // control connections that Serve took
	local    *bufconn.Listener // and those of DialLocal
	serving  sync.WaitGroup
	ctx      context.Context // ends with Close
	cancel   context.CancelFunc

	mu       sync.RWMutex                     // guards all below
	served   []string                         // data planes
	sessions map[transport.SessionID]*session // nil once closed
	fresh    []*session                       // those without an events stream yet, oldest first
}

// localBuffer is the size of an in-process control connection, in bytes.
const localBuffer = 256 << 10

// New opens the exports. The error names the export that can't be served, and
// why. A Target must be closed.
func New(cfg Config) (*Target, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.TLS != nil {
		cfg.TLS = cfg.TLS.Clone()
		cfg.TLS.NextProtos = []string{alpnControl, tcp.ALPN}
	}
	datasets, err := openExports(cfg.Exports)
	if err != nil {
		return nil, err
	}
	t := &Target{
		cfg:      cfg,
		datasets: datasets,
		files:    newFileTable(cfg.Log),
		remote:   newConnListener(),
		local:    bufconn.Listen(localBuffer),
		sessions: make(map[transport.SessionID]*session),
	}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	leases.start()
	t.data = tcp.NewServer(t, cfg.Log)
	t.devmem = devmemtcp.NewServer(t, cfg.Log)
	t.rdma = rdma.NewServer(t, cfg.Log)
	t.served = cfg.Transports
	t.control = newControl(t)
	t.serving.Go(func() { _ = t.control.Serve(t.remote) })
	t.serving.Go(func() { _ = t.control.Serve(t.local) })
	return t, nil
}

func openExports(exports []Export) ([]*dataset, error) {
	if len(exports) == 0 {
		return nil, errors.New("nothing to export: name at least one NAME=PATH")
	}
	var datasets []*dataset
	for _, e := range exports {
		d, err := openExport(e)
		if err == nil && slices.ContainsFunc(datasets, func(o *dataset) bool { return o.name == e.Name }) {
			d.close()
			err = fmt.Errorf("export %q: the name is used twice", e.Name)
		}
		if err != nil {
			for _, d := range datasets {
				d.close()
			}
			return nil, err
		}
		datasets = append(datasets, d)
	}
	return datasets, nil
}

// DialLocal returns a control connection within this process: for a mount that
// runs a target of its own.
func (t *Target) DialLocal(ctx context.Context) (net.Conn, error) {
	return t.local.DialContext(ctx)
}

// Session implements [transport.Sessions].
func (t *Target) Session(id transport.SessionID) (transport.Secret, transport.Source, bool) {
	s := t.session(id)
	if s == nil {
		return transport.Secret{}, nil, false
	}
	return s.secret, s, true
}

func (t *Target) session(id transport.SessionID) *session {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.sessions[id]
}

// startSession makes a session that lives for its grace, until its events stream
// begins. Of those that wait for it, the oldest makes room.
func (t *Target) startSession(datasets map[string]*dataset, client string) (*session, error) {
	s := newSession(t.files, datasets, client)
	s.end = func(why string) { t.endSession(s, why) }
	oldest, err := t.addSession(s)
	if err != nil {
		return nil, err
	}
	if oldest != nil {
		oldest.end("others came before its events stream")
	}
	return s, nil
}

// addSession may return a session that is to be ended.
func (t *Target) addSession(s *session) (oldest *session, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.sessions == nil:
		return nil, errClosing
	case len(t.sessions) >= maxSessions:
		return nil, errFull
	case len(t.fresh) >= maxFresh:
		oldest = t.fresh[0]
		t.fresh = slices.Delete(t.fresh, 0, 1)
	}
	s.grace = time.AfterFunc(freshGrace, func() { s.end("its events stream did not begin") })
	t.sessions[s.id] = s
	t.fresh = append(t.fresh, s)
	return oldest, nil
}

// attach begins the events stream of s. The session ends with it.
func (t *Target) attach(s *session) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.sessions[s.id] != s {
		return errNoSession
	}
	i := slices.Index(t.fresh, s)
	if i < 0 {
		return errSecondStream
	}
	t.fresh = slices.Delete(t.fresh, i, i+1)
	s.grace.Stop()
	return nil
}

func (t *Target) endSession(s *session, why string) {
	t.mu.Lock()
	known := t.sessions[s.id] == s
	delete(t.sessions, s.id)
	t.fresh = slices.DeleteFunc(t.fresh, func(o *session) bool { return o == s })
	t.mu.Unlock()
	if known {
		s.close()
		t.cfg.Log.Info("session closed", "client", s.client, "why", why)
	}
}

// closeGrace bounds how long Close waits for calls under way.
const closeGrace = 2 * time.Second

// Close ends every session, connection and listener, and returns when nothing
// of the target is left.
func (t *Target) Close() error {
	t.mu.Lock()
	sessions := t.sessions
	t.sessions = nil
	t.mu.Unlock()
	if sessions == nil {
		return nil
	}
	t.cancel()
	err := errors.Join(t.data.Close(), t.devmem.Close(), t.rdma.Close())
	hard := time.AfterFunc(closeGrace, t.control.Stop)
	t.control.GracefulStop()
	hard.Stop()
	t.serving.Wait()
	for _, s := range sessions {
		s.close()
	}
	t.files.revoking.Wait()
	leases.stop()
	for _, d := range t.datasets {
		d.close()
	}
	return err
}
