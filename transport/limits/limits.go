// Package limits bounds what clients may have of what there is only so much of:
// connections, open files, bytes of memory, work under way. All rooms use the one
// type for that.
//
// A [Limit] has a bound over all clients, and each client may have no more than
// it leaves for others: one that is alone may have half, and whoever comes anew
// always finds something. A limit may bound each client further, and the owner
// of a [Share] that share. Who is refused gets an [Error], which says how much of
// what is whose, and what to do; the log says so once a minute for each client.
// Where waiting is kinder than refusing, clients are served in turn, so that one
// who asks for much holds up nobody else.
//
// It decides no bounds, and knows of nothing what it is. Who a client is says
// whoever takes its connection: by a certificate's name or an address, or by uid.
//
// Locking: Limit.mu guards the limit, its clients and their shares. It is not
// held over anything that waits.
package limits

import (
	"slices"
	"sync"

	"hbmfs/transport/logging"
)

// Config describes a limit.
type Config struct {
	// What is limited, in the plural: "open files", "bytes of staging memory".
	What string
	// All is how much there is for all clients together.
	All int64
	// Each, if not 0, is how much one client may have, however much is left.
	Each int64
	// Remedy says what to do about a refusal.
	Remedy string
	// Log, if not nil, is told of refusals.
	Log *logging.Limiter
}

// Limit is an amount that clients share. What nobody holds costs nothing: a
// client is forgotten with its last share.
type Limit struct {
	Config
	msg string // for Log

	mu      sync.Mutex // guards all below, and of all clients and shares
	used    int64
	clients map[string]*client
	turn    []*client // those who wait and are below the bounds of a share: next first
}

// client is one who has shares.
type client struct {
	name   string
	shares int
	used   int64
	turn   []*Share // likewise
}

// New returns a limit of which nothing is in use.
func New(c Config) *Limit {
	return &Limit{Config: c, msg: "refused: too many " + c.What, clients: make(map[string]*client)}
}

// Used returns how much is in use by all clients.
func (l *Limit) Used() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.used
}

// Join returns a share of the client, of which nothing is in use yet. most, if not
// 0, bounds the share. The client whose name is empty is this process itself: only
// the bound over all is for it. The share must be left.
func (l *Limit) Join(name string, most int64) *Share {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.clients[name]
	if c == nil {
		c = &client{name: name}
		l.clients[name] = c
	}
	c.shares++
	return &Share{limit: l, client: c, most: most}
}

// Take returns a share of the client with n in use, or an [Error], of which the log
// is told.
func (l *Limit) Take(name string, n int64) (*Share, error) {
	s := l.Join(name, 0)
	if err := s.acquire(n); err != nil {
		s.Leave()
		err.Log()
		return nil, err
	}
	return s, nil
}

// Share is what one holder has of a limit, such as a session or a connection.
type Share struct {
	limit  *Limit
	client *client
	most   int64

	// Guarded by limit.mu:
	used  int64
	queue []*waiter
	left  bool
}

// TryAcquire takes n, and reports false where that would be refused, or others
// come first.
func (s *Share) TryAcquire(n int64) bool {
	s.limit.mu.Lock()
	defer s.limit.mu.Unlock()
	return s.tryLocked(n)
}

func (s *Share) tryLocked(n int64) bool {
	if len(s.queue) > 0 || !s.limit.mayPass(s.client) || s.over(n) != fits {
		return false
	}
	s.addLocked(n)
	return true
}

// Acquire takes n, or returns an [Error] and takes nothing. The caller has the log
// told of it ([Error.Log]), once it holds no lock.
func (s *Share) Acquire(n int64) error {
	if err := s.acquire(n); err != nil {
		return err
	}
	return nil
}

func (s *Share) acquire(n int64) *Error {
	s.limit.mu.Lock()
	defer s.limit.mu.Unlock()
	if why := s.over(n); why != fits {
		return s.refusal(why)
	}
	s.addLocked(n)
	return nil
}

// Release gives n of what is in use back.
func (s *Share) Release(n int64) {
	s.limit.mu.Lock()
	defer s.limit.mu.Unlock()
	s.addLocked(-n)
	s.ready()
	s.limit.serve()
}

// Leave gives all of the share back that is in use, once. Nobody may wait for it
// then.
func (s *Share) Leave() {
	l := s.limit
	l.mu.Lock()
	defer l.mu.Unlock()
	if s.left {
		return
	}
	s.left = true
	s.addLocked(-s.used)
	if s.client.shares--; s.client.shares == 0 {
		delete(l.clients, s.client.name)
	}
	l.serve()
}

// Move makes n of what s has in use to's, of the same limit, whatever bounds that
// one: nothing more is in use afterwards.
func (s *Share) Move(n int64, to *Share) {
	s.limit.mu.Lock()
	defer s.limit.mu.Unlock()
	s.addLocked(-n)
	to.addLocked(n)
	s.ready()
	s.limit.serve()
}

func (s *Share) addLocked(n int64) {
	s.used += n
	s.client.used += n
	s.limit.used += n
}

// verdict is which bound n more would go past.
type verdict int

const (
	fits  verdict = iota
	share         // that of the share
	each          // that of one client
	fair          // what is left for others
	all           // that of all clients
)

// over judges n more.
func (s *Share) over(n int64) verdict {
	l, c := s.limit, s.client
	free := l.All - l.used
	switch {
	case s.most > 0 && s.used+n > s.most:
		return share
	case n > free:
		return all
	case c.name == "":
		return fits
	case l.Each > 0 && c.used+n > l.Each:
		return each
	case c.used+n > free:
		return fair
	}
	return fits
}

// mayPass reports whether c may be served now: no one waits who has nothing yet,
// nor another of c.
func (l *Limit) mayPass(c *client) bool {
	return !slices.ContainsFunc(l.turn, func(o *client) bool { return o == c || o.used == 0 })
}
