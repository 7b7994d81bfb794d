package nic

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
)

// Rule is a flow rule of the NIC, for one TCP connection.
type Rule struct {
	nic      *NIC
	flow     flow
	location uint32
}

// errFlow says that a flow rule can't be for such a connection.
var errFlow = errors.New("no flow to steer")

// Steer has packets of TCP from remote to local received on a queue. It is for a
// connection that is not up yet: what came before went elsewhere.
func (n *NIC) Steer(local, remote netip.AddrPort, queue int) (*Rule, error) {
	f, err := flowOf(local, remote, queue)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", n.link.Name, err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.mayTake(queue); err != nil {
		return nil, err
	}
	r, err := n.insert(f)
	if err != nil {
		return nil, fmt.Errorf("%s: flow rule %v -> %v: %w", n.link.Name, f.Remote, f.Local, err)
	}
	return r, nil
}

// flowOf checks and puts into one form: a zone is not in the packets, and an IPv4 address
// mapped to IPv6 goes by IPv4.
func flowOf(local, remote netip.AddrPort, queue int) (flow, error) {
	f := flow{Local: plain(local), Remote: plain(remote), Queue: queue}
	l, r := f.Local.Addr(), f.Remote.Addr()
	switch {
	case !l.IsValid() || !r.IsValid() || l.IsUnspecified() || r.IsUnspecified() || f.Local.Port() == 0 || f.Remote.Port() == 0:
		return flow{}, fmt.Errorf("%w: %v -> %v lacks an address or a port", errFlow, remote, local)
	case l.Is4() != r.Is4():
		return flow{}, fmt.Errorf("%w: %v -> %v are of two IP versions", errFlow, remote, local)
	}
	return f, nil
}

func plain(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
}

func (n *NIC) mayTake(queue int) error {
	if n.closed {
		return ErrClosed
	}
	if !slices.Contains(n.taken, queue) {
		return fmt.Errorf("%s: %w: %d is not among the taken ones, %v", n.link.Name, ErrQueues, queue, n.taken)
	}
	return nil
}

// insert records the rule before it is made.
func (n *NIC) insert(f flow) (*Rule, error) {
	if slices.ContainsFunc(n.rules, func(r *Rule) bool { return r.flow.Local == f.Local && r.flow.Remote == f.Remote }) {
		return nil, fmt.Errorf("%w: the connection has a rule", ErrBusy)
	}
	n.rec.Flows = append(n.rec.Flows, f)
	if err := n.slot.save(n.rec); err != nil {
		n.forget(f)
		return nil, fmt.Errorf("record of the rule: %w", err)
	}
	loc, err := n.k.insertRule(n.link, f)
	if err != nil {
		n.forget(f)
		return nil, errors.Join(err, n.slot.save(n.rec))
	}
	r := &Rule{nic: n, flow: f, location: loc}
	n.rules = append(n.rules, r)
	return r, nil
}

func (n *NIC) forget(f flow) {
	n.rec.Flows = slices.DeleteFunc(n.rec.Flows, func(have flow) bool { return have == f })
}

// Close deletes the rule. That it is gone already, or the NIC is, is no error.
func (r *Rule) Close() error {
	n := r.nic
	n.mu.Lock()
	defer n.mu.Unlock()
	i := slices.Index(n.rules, r)
	if i < 0 {
		return nil
	}
	if err := n.drop(r); err != nil {
		return fmt.Errorf("%s: flow rule %v -> %v: %w", n.link.Name, r.flow.Remote, r.flow.Local, err)
	}
	n.rules = slices.Delete(n.rules, i, i+1)
	n.forget(r.flow)
	return n.slot.save(n.rec)
}

// drop goes by what the rule matches: its location may be another's by now.
func (n *NIC) drop(r *Rule) error {
	err := dropFlows(n.k, n.link, []flow{r.flow})
	if err == nil {
		return nil
	}
	if _, gone := n.k.linkAt(n.link.Index); errors.Is(gone, ErrNoNIC) {
		return nil
	}
	return err
}
