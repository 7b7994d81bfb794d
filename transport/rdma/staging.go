package rdma

import (
	"container/list"
	"errors"
	"sync"

	"hbmfs/transport/rdma/internal/verbs"
)

const (
	// pieceSize is the most payload, in bytes, that one WRITE carries and one
	// staging buffer holds.
	pieceSize = 1 << 20
	// stagingBuffers is how many staging buffers a server has.
	stagingBuffers = 64
	// maxHeld is how many of them one connection may hold.
	maxHeld = 16
)

var errEnding = errors.New("the connection is ending")

// arena is the memory that payload passes through on its way from a source to
// the wire: buffers of [pieceSize] bytes, and a page that holds the proof
// pattern. Each device registers all of it once.
type arena struct {
	mem []byte

	mu      sync.Mutex // guards all below, and every share's held
	free    []*staging
	waiting list.List // of *claim, in the order they came
}

// staging is one buffer on loan. It may be given back only once no WRITE from
// it can be under way.
type staging struct {
	mem []byte
	of  *share
}

// share is what one connection holds. A session that other sessions compete
// with holds no more than it leaves free: see [arena.mayTake].
type share struct {
	held    int
	session *holding
}

// holding counts the buffers of all connections of a session.
type holding struct{ held int }

type claim struct {
	of      *share
	granted chan *staging
}

func newArena(buffers int) (*arena, error) {
	mem, err := verbs.Alloc(buffers*pieceSize + proofSize)
	if err != nil {
		return nil, err
	}
	a := arenaOf(mem)
	appendPattern(a.proof()[:0])
	return a, nil
}

func arenaOf(mem []byte) *arena {
	a := &arena{mem: mem}
	for ; len(mem) >= pieceSize; mem = mem[pieceSize:] {
		a.free = append(a.free, &staging{mem: mem[:pieceSize:pieceSize]})
	}
	return a
}

// proof is the page after the buffers.
func (a *arena) proof() []byte { return a.mem[len(a.mem)-proofSize:] }

// close frees the memory. All buffers are back and no device has it registered.
func (a *arena) close() error { return verbs.Free(a.mem) }

// tryTake returns a buffer if there is one for s and nobody waits for it.
func (a *arena) tryTake(s *share) (*staging, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.waiting.Len() > 0 || !a.mayTake(s) {
		return nil, false
	}
	return a.takeLocked(s), true
}

// take waits for a buffer. Who came first is served first, but nobody waits for
// one who may not have another now. The error is [errEnding] once quit is
// closed.
func (a *arena) take(s *share, quit <-chan struct{}) (*staging, error) {
	c, at := a.claim(s)
	select {
	case b := <-c.granted:
		return b, nil
	case <-quit:
	}
	a.mu.Lock()
	a.waiting.Remove(at)
	a.mu.Unlock()
	select {
	case b := <-c.granted:
		a.put(b)
	default:
	}
	return nil, errEnding
}

func (a *arena) claim(s *share) (*claim, *list.Element) {
	c := &claim{of: s, granted: make(chan *staging, 1)}
	a.mu.Lock()
	defer a.mu.Unlock()
	at := a.waiting.PushBack(c)
	a.grantLocked()
	return c, at
}

// put takes a buffer back.
func (a *arena) put(b *staging) {
	a.mu.Lock()
	defer a.mu.Unlock()
	b.of.held--
	b.of.session.held--
	b.of = nil
	a.free = append(a.free, b)
	a.grantLocked()
}

// grantLocked gives what is free to those who wait and may have it.
func (a *arena) grantLocked() {
	for at := a.waiting.Front(); at != nil && len(a.free) > 0; {
		c, next := at.Value.(*claim), at.Next()
		if a.mayTake(c.of) {
			a.waiting.Remove(at)
			c.granted <- a.takeLocked(c.of)
		}
		at = next
	}
}

func (a *arena) takeLocked(s *share) *staging {
	b := a.free[len(a.free)-1]
	a.free = a.free[:len(a.free)-1]
	b.of = s
	s.held++
	s.session.held++
	return b
}

// mayTake keeps the slow from taking everything: a connection has its limit, and
// a session may take another buffer only while it holds fewer than are free.
func (a *arena) mayTake(s *share) bool {
	return s.held < maxHeld && s.session.held < len(a.free)
}

// inUse is how many buffers are on loan.
func (a *arena) inUse() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.mem)/pieceSize - len(a.free)
}
