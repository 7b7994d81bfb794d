// Package policy says which of the things that a cache holds goes next. It owns when
// things were used and missed of late, and the order of those that may go. It never
// knows what they are: keys come in, victims go out.
//
// # The rule
//
// What is new comes into a window, a small part of what is held; the rest is the
// main part. When room is needed, the oldest of the window stands against the
// least recently used of the main part. It takes that one's place if it was missed
// three times since that was used last; five times, if most of what gave way so
// came back. It also does if that one is dead: unused for longer than things stay
// away that come back. Otherwise the newcomer goes.
//
// A loader takes each sample once an epoch. So of more than there is room for, it
// finds the same part in every epoch: none of the others is missed three times while
// one of these is not used at all. A scan passes through the window; and what is
// used no more gives way within three epochs of what is used instead.
//
// A use that follows the latest one of the same thing closely is not counted: who
// reads something in many small steps has used it once.
//
// # Locking
//
// None: a [Policy] and its queues are guarded by their user.
package policy

//go:generate go run ./policysim --out .

// Policy is what all queues of one memory share: a clock of uses, and when keys were
// missed. The zero Policy is ready.
type Policy struct {
	clock   uint64 // uses so far
	room    int    // things there are slots for
	history history
	away    away
	regret  regret
}

const (
	// windowShare is how much of what a queue holds is its window: one in so many.
	windowShare = 32
	// lax and strict are how often a newcomer must have been missed since what it
	// replaces was used: strict, if most of what was replaced comes back. With one job
	// and shuffled epochs nothing ever is as often as lax, and with two, as strict.
	lax, strict = 3, 5
	// together is how many uses apart, at most, two of one thing are one.
	together = 16
)

// Entry is a thing's place in a [Queue]. Value must be set before it is added.
type Entry[T any] struct {
	Value *T
	key   uint64
	last  uint64 // by the clock
	// Of the window: when the earliest of its latest lax, or strict, misses was, by
	// the clock; 0 if there were less.
	laxly, strictly uint64
	main            bool // or else of the window

	in         *list[T]
	prev, next *Entry[T]
}

// Queue has things of which any can take the place of any other.
type Queue[T any] struct {
	p            *Policy
	window, main list[T]
}

// Init makes an empty queue of p's.
func (q *Queue[T]) Init(p *Policy) { q.p = p }

// Len is how many of the queue's things may go.
func (q *Queue[T]) Len() int { return q.window.n + q.main.n }

// Resize says that there is room for n things more, or less.
func (p *Policy) Resize(n int) { p.room += n }

func (p *Policy) tick() {
	p.clock++
	p.away.tick(p.clock, p.room)
}

// Add enters something that was missed, as in use: it can't go until [Queue.Idle].
func (q *Queue[T]) Add(e *Entry[T], key uint64) {
	p := q.p
	p.tick()
	e.key, e.last, e.main = key, p.clock, false
	p.history.fit(p.room)
	past := p.history.find(key, p.clock)
	if past.mark&goneBit != 0 {
		past.mark &^= goneBit
		p.regret.back++
	}
	e.laxly, e.strictly = p.history.miss(past, p.clock)
}

// Hit counts a use of e.
func (q *Queue[T]) Hit(e *Entry[T]) {
	p := q.p
	apart := p.clock - e.last
	if apart < uint64(min(together, p.room/8)) {
		return
	}
	p.tick()
	if e.main {
		p.away.back(apart)
	}
	e.last = p.clock
}

// Busy says that e can't go until the next Idle.
func (q *Queue[T]) Busy(e *Entry[T]) { e.unlink() }

// Idle says that e may go, after all others of its part. With room, nothing has
// to go for what comes next: then e may push others from the window into the main
// part.
func (q *Queue[T]) Idle(e *Entry[T], room bool) {
	if e.main {
		q.main.push(e)
		return
	}
	q.window.push(e)
	if room && q.window.n > q.share() {
		q.promote(q.window.first)
	}
}

func (q *Queue[T]) share() int { return max(1, q.Len()/windowShare) }

func (q *Queue[T]) promote(e *Entry[T]) {
	e.unlink()
	e.main = true
	q.main.push(e)
}

// Remove takes e out for good.
func (q *Queue[T]) Remove(e *Entry[T]) { e.unlink() }

// Victim returns the one that is to go, which stays in the queue until Remove;
// nil if none may go.
func (q *Queue[T]) Victim() *Entry[T] {
	newcomer, old := q.window.first, q.main.first
	if newcomer == nil || old == nil {
		if newcomer == nil {
			return old
		}
		return newcomer
	}
	first := newcomer.laxly
	if q.p.regret.strictly(q.p.room) {
		first = newcomer.strictly
	}
	if first <= old.last && !q.p.Dead(old.last) {
		return newcomer
	}
	if first > old.last {
		q.p.history.find(old.key, q.p.clock).mark |= goneBit
		q.p.regret.gone(q.p.room)
	}
	q.promote(newcomer)
	return old
}

// Dead reports whether something that was last used at that time is not
// expected to be used again. The time is one that [Policy.Now] returned.
func (p *Policy) Dead(last uint64) bool { return p.clock-last > p.away.limit(p.room) }

// Now is the time by the clock of uses.
func (p *Policy) Now() uint64 { return p.clock }
