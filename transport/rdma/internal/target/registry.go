package target

import (
	"errors"
	"sync"

	"hbmfs/transport"
	"hbmfs/transport/limits"
	"hbmfs/transport/rdma/internal/wire"
)

const (
	// noncesPerSession is how often one session may connect; then it is refused,
	// since a nonce that was forgotten could be used again.
	noncesPerSession = 1 << 16
	// sweepAt is how many sessions are remembered before the ended ones are
	// looked for.
	sweepAt = 64
)

var errNonce = errors.New("nonce used before, or too many of them")

// registry admits connections, and remembers the nonces that sessions used.
type registry struct {
	sessions transport.Sessions
	conns    *limits.Limit

	mu    sync.Mutex // guards all below
	known map[transport.SessionID]*member
	sweep int // how many members start the next sweep
}

// member is one session's entry.
type member struct {
	source transport.Source
	nonces map[wire.Nonce]struct{}
}

func newRegistry(sessions transport.Sessions, conns *limits.Limit) *registry {
	return &registry{sessions: sessions, conns: conns, known: make(map[transport.SessionID]*member), sweep: sweepAt}
}

// enter counts a connection of a session whose client has proved itself with a
// nonce, in the share that it returns, and uses the nonce up. The error is
// [errNonce] or wraps [limits.ErrLimit].
func (r *registry) enter(id transport.SessionID, who transport.Admission, n wire.Nonce) (*limits.Share, error) {
	place, err := r.conns.Take(who.Client, 1)
	if err != nil {
		return nil, err // the nonce is not used up
	}
	if !r.use(id, who.Source, n) {
		place.Leave()
		return nil, errNonce
	}
	return place, nil
}

// use reports false if the nonce is not to be used.
func (r *registry) use(id transport.SessionID, source transport.Source, n wire.Nonce) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.memberLocked(id, source)
	if _, used := m.nonces[n]; used || len(m.nonces) >= noncesPerSession {
		return false
	}
	m.nonces[n] = struct{}{}
	return true
}

func (r *registry) memberLocked(id transport.SessionID, source transport.Source) *member {
	m := r.known[id]
	if m != nil && m.source == source {
		return m
	}
	if len(r.known) >= r.sweep {
		r.sweepLocked()
	}
	m = &member{source: source, nonces: make(map[wire.Nonce]struct{})}
	r.known[id] = m
	return m
}

// sweepLocked forgets the sessions that have ended: their nonces are worth
// nothing.
func (r *registry) sweepLocked() {
	for id, m := range r.known {
		if who, live := r.sessions.Session(id); !live || who.Source != m.source {
			delete(r.known, id)
		}
	}
	r.sweep = max(sweepAt, 2*len(r.known))
}
