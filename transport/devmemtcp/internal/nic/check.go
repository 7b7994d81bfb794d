package nic

import (
	"errors"
	"fmt"
	"slices"
)

// Check reads back whether the NIC is still set as it was made: the interface is
// there and up, split, RSS and n-tuple filters, the rules, and the bindings at
// their queues. The error wraps [ErrChanged], [ErrNoNIC] or [ErrDown] and names
// everything that is different.
func (n *NIC) Check() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return ErrClosed
	}
	if err := n.check(); err != nil {
		return fmt.Errorf("%s: %w", n.link.Name, err)
	}
	return nil
}

func (n *NIC) check() error {
	l, err := n.k.linkAt(n.link.Index)
	if err != nil {
		return err
	}
	if l.Parent != n.link.Parent {
		return fmt.Errorf("%w: index %d is now of %s, device %s", ErrNoNIC, l.Index, l.Name, l.Parent)
	}
	if !l.Up {
		return ErrDown
	}
	return errors.Join(verify(n.k, n.link, n.taken), n.checkRules(), n.checkBindings())
}

func (n *NIC) checkRules() error {
	if len(n.rules) == 0 {
		return nil
	}
	have, err := n.k.rules(n.link)
	if err != nil {
		return err
	}
	for _, r := range n.rules {
		if !slices.ContainsFunc(have, func(h rule) bool { return h.Exact && h.Flow == r.flow }) {
			err = errors.Join(err, fmt.Errorf("%w: the flow rule %v -> %v is gone", ErrChanged, r.flow.Remote, r.flow.Local))
		}
	}
	return err
}

func (n *NIC) checkBindings() error {
	if len(n.bindings) == 0 {
		return nil
	}
	all, err := n.k.queues(n.link)
	if err != nil {
		return err
	}
	for _, b := range n.bindings {
		for _, id := range b.queues {
			err = errors.Join(err, checkQueue(all, id, b.id))
		}
	}
	return err
}

func checkQueue(all []queue, id int, binding uint32) error {
	i := slices.IndexFunc(all, func(q queue) bool { return q.ID == id })
	switch {
	case i < 0:
		return fmt.Errorf("%w: queue %d is gone", ErrChanged, id)
	case all[i].DMABuf != binding:
		return fmt.Errorf("%w: queue %d no longer receives into the dma-buf binding %d", ErrChanged, id, binding)
	}
	return nil
}
