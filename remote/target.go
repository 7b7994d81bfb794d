package remote

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	"hbmfs/remote/wire"
	"hbmfs/transport"
)

// Target is a mount's hold on one target. All methods may be called
// concurrently.
type Target struct {
	cfg       Config
	conn      *grpc.ClientConn
	control   wire.ControlClient
	selection transport.Selection
	datasets  []Dataset
	counters  counters
	started   time.Time // what deadlines count from
	walks     *walks

	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	close   func() error
	workers sync.WaitGroup
	pumps   sync.WaitGroup // hand over or end waiting requests; grows under mu, until closed
	lost    chan *session  // sessions to replace
	closer  chan struct{}  // capacity 1: handles wait to be closed

	attaching sync.Mutex // guards mems; see the package's locking rule
	mems      []*memory

	mu      sync.Mutex // guards all below
	cur     *session   // nil while there is none
	cause   error      // why there is none
	changed chan struct{}
	closed  bool
	files   map[*File]struct{}
	past    transport.LinkStats // of links that are closed
	waiting queue

	queued atomic.Int64 // requests that no link has taken; changed under mu
}

// Connect opens a session, chooses the transport, and dials the link. It tries
// once: the error wraps [transport.ErrConnLost] if the target can't be reached,
// [ErrRefused] if it does not want this mount, or is Config.Select's.
func Connect(ctx context.Context, cfg Config) (*Target, error) {
	t := &Target{
		cfg:     cfg.withDefaults(),
		started: time.Now(),
		walks:   newWalks(),
		lost:    make(chan *session, 1),
		closer:  make(chan struct{}, 1),
		changed: make(chan struct{}),
		files:   make(map[*File]struct{}),
	}
	var err error
	if t.conn, err = dialControl(t.cfg); err != nil {
		return nil, err
	}
	t.control = wire.NewControlClient(t.conn)
	t.ctx, t.cancel = context.WithCancel(context.Background())
	t.close = sync.OnceValue(t.shut)
	t.waiting.nudge = time.AfterFunc(time.Hour, t.nudged)
	t.waiting.nudge.Stop()
	if err := t.connect(ctx); err != nil {
		t.cancel()
		t.workers.Wait()
		t.conn.Close()
		return nil, fmt.Errorf("target %s: %w", cfg.Addr, err)
	}
	t.workers.Go(t.recoverSessions)
	t.workers.Go(t.closeHandles)
	return t, nil
}

func (t *Target) connect(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, t.cfg.Timeout)
	defer cancel()
	s, err := t.openSession(ctx)
	if err != nil {
		return err
	}
	t.datasets = s.datasets
	t.selection, err = t.cfg.Select(s.transports)
	if err == nil {
		err = t.dial(ctx, s)
	}
	if err != nil {
		s.abandon()
		return err
	}
	changed, err := t.install(s, nil)
	if err == nil {
		t.installed(s, changed)
	}
	return err
}

// keepAlive finds out about a target that is gone while no call is under way.
var keepAlive = keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 5 * time.Second, PermitWithoutStream: true}

// redial is how gRPC comes back to a target that was away.
var redial = grpc.ConnectParams{
	Backoff:           backoff.Config{BaseDelay: minBackoff, Multiplier: 1.6, Jitter: 0.2, MaxDelay: maxBackoff},
	MinConnectTimeout: 2 * time.Second,
}

func dialControl(cfg Config) (*grpc.ClientConn, error) {
	creds := insecure.NewCredentials()
	if cfg.TLS != nil && cfg.DialControl == nil {
		creds = credentials.NewTLS(cfg.TLS)
	}
	dial := cfg.DialControl
	if dial == nil {
		dial = func(ctx context.Context) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", cfg.Addr)
		}
	}
	return grpc.NewClient("passthrough:///"+cfg.Addr,
		grpc.WithTransportCredentials(creds),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return dial(ctx) }),
		grpc.WithKeepaliveParams(keepAlive),
		grpc.WithConnectParams(redial))
}

// Datasets returns what the session serves.
func (t *Target) Datasets() []Dataset { return t.datasets }

// Selection returns the transport that was chosen, and why.
func (t *Target) Selection() transport.Selection { return t.selection }

// Close ends the session. When it returns, every request is Done. Every call
// returns what the first one did.
func (t *Target) Close() error { return t.close() }

func (t *Target) shut() error {
	t.mu.Lock()
	t.closed = true
	t.cause = transport.ErrClosed
	s := t.cur
	t.cur = nil
	t.wake()
	t.mu.Unlock()

	t.waiting.nudge.Stop()
	t.walks.close()
	if s != nil {
		t.retire(s)
		s.sayGoodbye()
	}
	t.cancel()
	t.workers.Wait()
	t.retireLost()
	t.detachAll()
	t.pumps.Wait()
	t.drain()
	return t.conn.Close()
}

// wake tells those who wait for a session, or for the end. t.mu is held.
func (t *Target) wake() {
	close(t.changed)
	t.changed = make(chan struct{})
}

// current returns the session, or nil while there is none. The error is
// [transport.ErrClosed].
func (t *Target) current() (*session, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, transport.ErrClosed
	}
	return t.cur, nil
}

// await returns the session, once there is one.
func (t *Target) await(ctx context.Context) (*session, error) {
	for {
		t.mu.Lock()
		s, closed, changed, cause := t.cur, t.closed, t.changed, t.cause
		t.mu.Unlock()
		if closed {
			return nil, transport.ErrClosed
		}
		if s != nil {
			return s, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", ctx.Err(), cause)
		}
	}
}

// isLost reports whether err goes away with a new session or connection.
func isLost(err error) bool {
	return errors.Is(err, transport.ErrConnLost) || errors.Is(err, transport.ErrStalled) || needsSession(err)
}

func isStale(err error) bool { return errors.Is(err, transport.ErrStale) }

// needsSession reports whether err goes away with a new session only.
func needsSession(err error) bool {
	return errors.Is(err, transport.ErrSession) || errors.Is(err, transport.ErrUnknownFile) || errors.Is(err, transport.ErrClosed)
}
