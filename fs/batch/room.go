package batch

import "sync"

// room is the room for segments that is not kept for one entry.
type room struct {
	extent int64 // bytes that a segment holds at most, mostly

	mu   sync.Mutex
	left int // in segments
}

// entryRoom is what one entry has.
type entryRoom struct {
	*room
	taken int // beside the one that is kept for it
}

// Limit takes what so many bytes may need: an extent each, and two more, since a range
// seldom begins where an extent does, and others may have fetched a part of it. What an
// earlier call took, for an attempt that failed, it gives back.
func (r *entryRoom) Limit(n int64) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.left += r.taken
	r.taken = int(min(n/r.extent+2, int64(r.left)))
	r.left -= r.taken
	return 1 + r.taken
}

// giveBack is told how many segments were used.
func (r *entryRoom) giveBack(used int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.left += min(r.taken, 1+r.taken-used)
}
