package transporttest

import (
	"encoding/binary"
	"sync"

	"hbmfs/transport"
)

// Sessions is a fake target's table of sessions.
type Sessions struct {
	mu   sync.Mutex // guards all below
	live map[transport.SessionID]transport.Admission
	last uint64
}

var _ transport.Sessions = (*Sessions)(nil)

// NewSessions returns an empty table.
func NewSessions() *Sessions {
	return &Sessions{live: make(map[transport.SessionID]transport.Admission)}
}

// Open adds a session for source. The caller fills in how to reach it.
func (s *Sessions) Open(source transport.Source) transport.Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last++
	var out transport.Session
	binary.BigEndian.PutUint64(out.ID[:], s.last)
	binary.BigEndian.PutUint64(out.Secret[:], ^s.last)
	s.live[out.ID] = transport.Admission{Secret: out.Secret, Source: source, Client: "client"}
	return out
}

// End removes a session.
func (s *Sessions) End(id transport.SessionID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.live, id)
}

// Session looks a session up.
func (s *Sessions) Session(id transport.SessionID) (transport.Admission, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	who, ok := s.live[id]
	return who, ok
}
