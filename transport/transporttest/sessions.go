package transporttest

import (
	"encoding/binary"
	"sync"

	"hbmfs/transport"
)

// Sessions is a fake target's table of sessions.
type Sessions struct {
	mu   sync.Mutex // guards all below
	live map[transport.SessionID]session
	last uint64
}

type session struct {
	secret transport.Secret
	source transport.Source
}

var _ transport.Sessions = (*Sessions)(nil)

// NewSessions returns an empty table.
func NewSessions() *Sessions {
	return &Sessions{live: make(map[transport.SessionID]session)}
}

// Open adds a session for source. The caller fills in how to reach it.
func (s *Sessions) Open(source transport.Source) transport.Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last++
	var out transport.Session
	binary.BigEndian.PutUint64(out.ID[:], s.last)
	binary.BigEndian.PutUint64(out.Secret[:], ^s.last)
	s.live[out.ID] = session{out.Secret, source}
	return out
}

// End removes a session.
func (s *Sessions) End(id transport.SessionID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.live, id)
}

// Session looks a session up.
func (s *Sessions) Session(id transport.SessionID) (transport.Secret, transport.Source, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, ok := s.live[id]
	return v.secret, v.source, ok
}
