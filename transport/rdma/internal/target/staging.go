package target

import (
	"context"
	"sync"

	"hbmfs/transport/limits"
	"hbmfs/transport/rdma/internal/verbs"
	"hbmfs/transport/rdma/internal/wire"
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

// arena is the memory that payload passes through on its way from a source to
// the wire: buffers of [pieceSize] bytes, which clients share, and a page that
// holds the proof pattern. Each device registers all of it once.
type arena struct {
	mem   []byte
	limit *limits.Limit // of buffers

	mu   sync.Mutex // guards free; that of limit is not taken under it
	free [][]byte
}

func newArena(buffers int) (*arena, error) {
	mem, err := verbs.Alloc(buffers*pieceSize + wire.ProofSize)
	if err != nil {
		return nil, err
	}
	a := arenaOf(mem)
	wire.AppendPattern(a.proof()[:0])
	return a, nil
}

func arenaOf(mem []byte) *arena {
	a := &arena{mem: mem}
	for ; len(mem) >= pieceSize; mem = mem[pieceSize:] {
		a.free = append(a.free, mem[:pieceSize:pieceSize])
	}
	a.limit = limits.New(limits.Config{What: "staging buffers", All: int64(len(a.free)), Remedy: "wait for some"})
	return a
}

// proof is the page after the buffers.
func (a *arena) proof() []byte { return a.mem[len(a.mem)-wire.ProofSize:] }

// close frees the memory. All buffers are back and no device has it registered.
func (a *arena) close() error { return verbs.Free(a.mem) }

// staging is one connection's share of an arena.
type staging struct {
	arena *arena
	share *limits.Share
}

// join returns a share of a client; the share must be left.
func (a *arena) join(client string) staging {
	return staging{a, a.limit.Join(client, maxHeld)}
}

// tryTake returns a buffer, or nil where there is none for the connection now.
func (s staging) tryTake() []byte {
	if !s.share.TryAcquire(1) {
		return nil
	}
	return s.arena.pop()
}

// take waits for a buffer; it returns nil once ctx has ended.
func (s staging) take(ctx context.Context) []byte {
	if s.share.Wait(ctx, 1) != nil {
		return nil
	}
	return s.arena.pop()
}

// put takes a buffer back; nil is none. No WRITE from it can be under way.
func (s staging) put(b []byte) {
	if b == nil {
		return
	}
	s.arena.mu.Lock()
	s.arena.free = append(s.arena.free, b)
	s.arena.mu.Unlock()
	s.share.Release(1)
}

// pop returns a buffer that the limit has granted: so there is one.
func (a *arena) pop() []byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	last := len(a.free) - 1
	b := a.free[last]
	a.free = a.free[:last]
	return b
}
