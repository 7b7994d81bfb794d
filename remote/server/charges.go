package server

import (
	"sync"

	"hbmfs/transport"
	"hbmfs/transport/limits"
)

// charges has each version of a file that is open counted once, however many have
// it open, as one of those who do: that is what it costs the store.
type charges struct {
	limit *limits.Limit

	mu sync.Mutex
	of map[transport.Version]*charge // settled ones
}

// charge is one version's.
type charge struct {
	payer  *openFile
	others map[*openFile]struct{}
}

func newCharges(limit *limits.Limit) *charges {
	return &charges{limit: limit, of: make(map[transport.Version]*charge)}
}

// enter counts f. The error is a [limits.Error], which is yet to be logged.
func (c *charges) enter(f *openFile) error {
	f.share = c.limit.Join(f.session.peer, 0)
	c.mu.Lock()
	defer c.mu.Unlock()
	if of := c.of[f.version]; of != nil && f.settled {
		of.others[f] = struct{}{}
		return nil
	}
	if err := f.share.Acquire(1); err != nil {
		f.share.Leave()
		return err
	}
	if f.settled {
		c.of[f.version] = &charge{payer: f, others: make(map[*openFile]struct{})}
	}
	return nil
}

// leave undoes enter. Where others have the version open, one of them pays.
func (c *charges) leave(f *openFile) {
	defer f.share.Leave()
	if !f.settled {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	of := c.of[f.version]
	if of.payer != f {
		delete(of.others, f)
		return
	}
	for heir := range of.others {
		f.share.Move(1, heir.share)
		of.payer = heir
		delete(of.others, heir)
		return
	}
	delete(c.of, f.version)
}
