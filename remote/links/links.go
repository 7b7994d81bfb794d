package links

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"hbmfs/transport"
)

// Session is the links of one session, by the number of their transport.
type Session struct {
	ctx    context.Context // ends with the session
	with   transport.Session
	served []string

	mu     sync.Mutex // guards all below
	all    []transport.Link
	closed bool
}

// NewSession returns a session without links. ctx ends with it, and served names the
// transports that its target serves.
func NewSession(ctx context.Context, s transport.Session, served []string) *Session {
	return &Session{ctx: ctx, with: s, served: served}
}

// To returns the link by a transport, or nil.
func (s *Session) To(number int) transport.Link {
	s.mu.Lock()
	defer s.mu.Unlock()
	if number >= len(s.all) {
		return nil
	}
	return s.all[number]
}

// Lender returns a link that lends, if there is any.
func (s *Session) Lender() (transport.Lender, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, link := range s.all {
		if lender, ok := link.(transport.Lender); ok {
			return lender, true
		}
	}
	return nil, false
}

// now returns the links, with nil where there is none.
func (s *Session) now() []transport.Link {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.all)
}

// Close closes all links: their requests have completed. There will be no other.
func (s *Session) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	for _, link := range s.now() {
		if link != nil {
			link.Close()
		}
	}
}

// dial returns the link by a transport, which it makes if there is none. The error
// wraps [transport.ErrSession] if the session has ended meanwhile.
func (s *Session) dial(ctx context.Context, number int, by transport.Transport) (transport.Link, error) {
	if link := s.To(number); link != nil {
		return link, nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	link, err := by.Dial(ctx, s.with)
	if err != nil && s.ctx.Err() != nil {
		err = fmt.Errorf("%w: %w", transport.ErrSession, err)
	}
	if err != nil {
		return nil, err
	}
	if !s.add(number, link) {
		return nil, fmt.Errorf("%w: it is over", errors.Join(transport.ErrSession, link.Close()))
	}
	return link, nil
}

// add keeps a new link, unless the session is over.
func (s *Session) add(number int, link transport.Link) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	for len(s.all) <= number {
		s.all = append(s.all, nil)
	}
	s.all[number] = link
	return true
}
