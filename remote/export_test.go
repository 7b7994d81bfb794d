package remote

// ExpireKept closes all that is kept, as if it had been for long.
func (t *Target) ExpireKept() { closeAll(t.kept.Expire(0)) }
