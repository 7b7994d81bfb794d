package rdma

import (
	"errors"
	"sync"

	"hbmfs/transport"
)

const (
	// connsPerSession is how many connections one session may have.
	connsPerSession = 128
	// noncesPerSession is how often one session may connect; then it is refused,
	// since a nonce that was forgotten could be used again.
	noncesPerSession = 1 << 16
	// sweepAt is how many sessions are remembered before the ended ones are
	// looked for.
	sweepAt = 64
)

var (
	errCrowd = errors.New("too many connections")
	errNonce = errors.New("nonce used before, or too many of them")
)

// registry remembers what sessions did: the nonces that they used and how many
// connections they have.
type registry struct {
	sessions transport.Sessions

	mu    sync.Mutex // guards all below
	known map[transport.SessionID]*member
	sweep int // how many members start the next sweep
}

// member is one session's entry.
type member struct {
	source  transport.Source
	nonces  map[nonce]struct{}
	conns   int
	staging holding // guarded by the arena
}

func newRegistry(sessions transport.Sessions) *registry {
	return &registry{sessions: sessions, known: make(map[transport.SessionID]*member), sweep: sweepAt}
}

// enter counts a connection of a session whose client has proved itself with a
// nonce, and uses the nonce up. The error is [errNonce] or [errCrowd].
func (r *registry) enter(id transport.SessionID, source transport.Source, n nonce) (*member, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.memberLocked(id, source)
	if _, used := m.nonces[n]; used || len(m.nonces) >= noncesPerSession {
		return nil, errNonce
	}
	if m.conns >= connsPerSession {
		return nil, errCrowd // the nonce is not used up
	}
	m.nonces[n] = struct{}{}
	m.conns++
	return m, nil
}

func (r *registry) leave(m *member) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m.conns--
}

func (r *registry) memberLocked(id transport.SessionID, source transport.Source) *member {
	m := r.known[id]
	if m != nil && m.source == source {
		return m
	}
	if len(r.known) >= r.sweep {
		r.sweepLocked()
	}
	m = &member{source: source, nonces: make(map[nonce]struct{})}
	r.known[id] = m
	return m
}

// sweepLocked forgets the sessions that have ended: their nonces are worth
// nothing.
func (r *registry) sweepLocked() {
	for id, m := range r.known {
		if _, source, live := r.sessions.Session(id); !live || source != m.source {
			delete(r.known, id)
		}
	}
	r.sweep = max(sweepAt, 2*len(r.known))
}
