// Package policy says which of the things that a cache holds goes next. It owns
// how often things were used of late, also those that are gone, and the order of
// those that may go. It never knows what they are: keys come in, victims go out.
//
// # The rule
//
// What is new comes into a window, a small part of what is held; the rest is the
// main part. When room is needed, the oldest of the window stands against the
// least recently used of the main part. It takes that one's place if it was used
// more than twice as often, or if that one is dead: unused for longer than things that
// come back stay away. Otherwise the newcomer goes. So a loader that takes each
// sample once an epoch, from more than there is room for, finds the same part of
// them in every epoch; a scan passes through the window; and what is used no more
// makes room within two or three epochs.
//
// A use that follows the latest one of the same thing closely is not counted: who
// reads something in many small steps has used it once.
//
// # Locking
//
// None: a [Policy] and its queues are guarded by their user.
package policy

// Policy is what all queues of one memory share: a clock of uses, and how often
// keys were used. The zero Policy is ready.
type Policy struct {
	clock  uint64 // uses so far
	held   int    // entries in queues, and taken out of them
	sketch sketch
	away   away
}

const (
	// windowShare is how much of what a queue holds is its window: one in so many.
	windowShare = 32
	// margin is how many uses more than twice those of what it would replace a
	// newcomer must have. In the middle of epochs, things that are used equally
	// often may differ by one for each job, and estimates by more.
	margin = 2
	// together is how many uses apart, at most, two of one thing are one.
	together = 16
)

// Entry is a thing's place in a [Queue]. Value must be set before it is added.
type Entry[T any] struct {
	Value *T
	key   uint64
	last  uint64 // by the clock
	main  bool   // or else of the window
	held  bool   // between Add and Remove

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

// Miss counts a use of something that is not held.
func (p *Policy) Miss(key uint64) {
	p.tick()
	p.sketch.add(key)
}

func (p *Policy) tick() {
	p.clock++
	p.sketch.fit(p.held)
	p.away.tick(p.clock, p.held)
}

// Add enters something new, which was missed, as in use: it can't go until
// [Queue.Idle].
func (q *Queue[T]) Add(e *Entry[T], key uint64) {
	e.key, e.last, e.main, e.held = key, q.p.clock, false, true
	q.p.held++
}

// Hit counts a use of e.
func (q *Queue[T]) Hit(e *Entry[T]) {
	p := q.p
	apart := p.clock - e.last
	if apart < uint64(min(together, p.held/8)) {
		return
	}
	p.tick()
	if e.main {
		p.sketch.add(e.key)
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
func (q *Queue[T]) Remove(e *Entry[T]) {
	if e.held {
		e.unlink()
		e.held = false
		q.p.held--
	}
}

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
	if !q.p.Dead(old.last) && q.p.sketch.count(newcomer.key) < 2*q.p.sketch.count(old.key)+margin {
		return newcomer
	}
	q.promote(newcomer)
	return old
}

// Dead reports whether something that was last used at that time is not
// expected to be used again. The time is one that [Policy.Now] returned.
func (p *Policy) Dead(last uint64) bool { return p.clock-last > p.away.limit(p.held) }

// Now is the time by the clock of uses.
func (p *Policy) Now() uint64 { return p.clock }
