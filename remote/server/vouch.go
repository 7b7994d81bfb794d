package server

// A mount's term is only good while stores look for what changes. One whose target
// was stopped for long may have missed something, and not know yet: nothing is
// granted before it has looked.

// grant returns a term for an answer, in milliseconds.
func (s *session) grant() uint32 {
	for _, d := range s.datasets {
		if d.tree != nil && !d.tree.Watched() {
			return 0
		}
	}
	return s.out.grant()
}

// renew answers a renewal, behind the events of all that has changed.
func (s *session) renew(id uint64) error {
	for _, d := range s.datasets {
		if d.tree != nil && !d.tree.Watched() {
			d.tree.CatchUp()
		}
	}
	return s.out.renew(id)
}
