package server

import (
	"net"
	"slices"
	"sync"

	"hbmfs/transport/limits"
	"hbmfs/transport/logging"
)

// strangers are connections that have not said yet what they are, or, for those
// that carry data, not proved that they may. Where a host has too many, its oldest
// makes room.
type strangers struct {
	limit *limits.Limit

	mu  sync.Mutex
	all []*stranger // oldest first
}

type stranger struct {
	net.Conn
	host  string
	share *limits.Share
}

// add counts conn, and returns how to end that. It returns nil if there is no
// room, and no older one of its host.
func (s *strangers) add(conn net.Conn) (known func()) {
	host := logging.Host(conn.RemoteAddr().String())
	share, err := s.limit.Take(host, 1)
	for err != nil && s.closeOldest(host) {
		share, err = s.limit.Take(host, 1)
	}
	if err != nil {
		return nil
	}
	n := &stranger{conn, host, share}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, n)
	return func() { s.remove(n) }
}

// closeOldest reports false if the host has none.
func (s *strangers) closeOldest(host string) bool {
	s.mu.Lock()
	i := slices.IndexFunc(s.all, func(n *stranger) bool { return n.host == host })
	if i < 0 {
		s.mu.Unlock()
		return false
	}
	oldest := s.all[i]
	s.mu.Unlock()
	oldest.Close()
	s.remove(oldest)
	return true
}

// remove gives the place of n back, unless that is done.
func (s *strangers) remove(n *stranger) {
	s.mu.Lock()
	i := slices.Index(s.all, n)
	if i >= 0 {
		s.all = slices.Delete(s.all, i, i+1)
	}
	s.mu.Unlock()
	if i >= 0 {
		n.share.Leave()
	}
}
