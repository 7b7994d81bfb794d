package policy

// away estimates for how long, in uses of anything, things that come back stay
// away: a quarter more than the longest of late.
type away struct {
	longest, before uint64 // in this period, and in the one before
	turned          uint64 // when this period began
}

// Bounds of the estimate, and what it is without one, for each thing there is room
// for.
const (
	awayLeast   = 4
	awayMost    = 64
	awayUnknown = 16
)

// back counts something that came back after so many uses.
func (a *away) back(apart uint64) { a.longest = max(a.longest, apart) }

// tick begins a new period where this one was long enough to see what comes back.
func (a *away) tick(now uint64, room int) {
	if now-a.turned > 2*a.limit(room) {
		a.before, a.longest, a.turned = a.longest, 0, now
	}
}

func (a *away) limit(room int) uint64 {
	n := uint64(max(room, 1))
	longest := max(a.longest, a.before)
	if longest == 0 {
		return awayUnknown * n
	}
	return min(max(longest+longest/4, awayLeast*n), awayMost*n)
}
