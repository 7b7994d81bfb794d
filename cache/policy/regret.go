package policy

// regret counts what made room for newcomers that were used more often, and how much
// of that was wanted again.
type regret struct{ made, back int }

// strictly reports whether most of it was, of late, and not just a few.
func (r *regret) strictly(room int) bool { return 2*r.back > r.made+few(room) }

// gone counts one more that made room. What was counted long ago weighs less.
func (r *regret) gone(room int) {
	if r.made++; r.made > 8*few(room) {
		r.made, r.back = r.made/2, r.back/2
	}
}

func few(room int) int { return max(16, room/32) }
