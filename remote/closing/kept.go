package closing

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// patience is for how many further files, in multiples of the room, a file is kept
// before another may have its place. Where more files are read again and again than
// there is room for, in whatever order, those that are kept stay, and are found each
// time; the least recently used would never be.
const patience = 8

// Kept are files that no program has open and the target still does, by what they are
// opened again by. Its methods may be called concurrently; whoever gets a file from
// one owns it.
type Kept[K comparable, F comparable] struct {
	mu      sync.Mutex // guards all below
	room    int
	yielded time.Time // when Yield was called last
	clock   int       // files that were put in
	files   *simplelru.LRU[K, kept[F]]
}

type kept[F comparable] struct {
	file F
	put  int // by the clock
	at   time.Time
}

// unbounded is a room of simplelru's that is never full: Kept makes room itself.
const unbounded = 1 << 30

// NewKept returns one without room.
func NewKept[K comparable, F comparable]() *Kept[K, F] {
	files, err := simplelru.NewLRU[K, kept[F]](unbounded, nil)
	if err != nil {
		panic(err) // of a size below 1
	}
	return &Kept[K, F]{files: files}
}

// SetRoom sets how many files are kept at most, and returns those that are no more.
func (k *Kept[K, F]) SetRoom(room int) []F {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.room = room
	return k.shed(k.files.Len() - room)
}

// Room is how many files are kept at most.
func (k *Kept[K, F]) Room() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.room
}

// Put keeps f, in the place of what is kept as key, and returns a file that is not kept
// for it: that one, or f itself if there is no room. It reports false if there is none.
func (k *Kept[K, F]) Put(key K, f F) (out F, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.clock++
	was, same := k.files.Peek(key)
	switch {
	case same:
		out, ok = was.file, true
	case k.room == 0 || time.Since(k.yielded) < yieldFor:
		return f, true
	case k.files.Len() >= k.room:
		oldest, was, _ := k.files.GetOldest()
		if k.clock-was.put < patience*k.room {
			return f, true
		}
		k.files.Remove(oldest)
		out, ok = was.file, true
	}
	k.files.Add(key, kept[F]{f, k.clock, time.Now()})
	return out, ok
}

// Find returns the file that is kept as key, which may be another's at any time.
func (k *Kept[K, F]) Find(key K) (f F, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	was, ok := k.files.Peek(key)
	return was.file, ok
}

// Remove keeps f no more, and reports whether it was kept as key: then it is the
// caller's.
func (k *Kept[K, F]) Remove(key K, f F) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	was, ok := k.files.Peek(key)
	return ok && was.file == f && k.files.Remove(key)
}

// Shed keeps a share of the files no more, 1/divisor of them and at least one if there
// are any, and returns them.
func (k *Kept[K, F]) Shed(divisor int) []F {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.shed((k.files.Len() + divisor - 1) / divisor)
}

// yieldFor is for how long nothing is kept after Yield: what was open then, and is closed
// soon after, would be in the way as well.
const yieldFor = 2 * time.Second

// Yield keeps nothing any more, and half as many as before after a while.
func (k *Kept[K, F]) Yield() []F {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.room /= 2
	k.yielded = time.Now()
	return k.shed(k.files.Len())
}

// Files that nobody opens are kept for a while only: as long as they are open at the
// target, its file systems can't be unmounted, and writers wait for who keeps them.
const (
	keepFor   = time.Minute
	lookEvery = 10 * time.Second
)

// Run has files closed that were kept for a minute, until ctx ends.
func (k *Kept[K, F]) Run(ctx context.Context, closeAll func([]F)) {
	for sleep(ctx, lookEvery) {
		closeAll(k.Expire(keepFor))
	}
}

// Expire keeps those no more that were put in that long ago, and returns them.
func (k *Kept[K, F]) Expire(age time.Duration) (out []F) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for {
		_, oldest, ok := k.files.GetOldest()
		if !ok || time.Since(oldest.at) < age {
			return out
		}
		out = append(out, k.shed(1)...)
	}
}

// shed is for n files, those that were put in first. k.mu is held.
func (k *Kept[K, F]) shed(n int) (out []F) {
	for range n {
		_, was, _ := k.files.RemoveOldest()
		out = append(out, was.file)
	}
	return out
}

// Len is how many are kept.
func (k *Kept[K, F]) Len() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.files.Len()
}
