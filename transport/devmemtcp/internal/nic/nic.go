package nic

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"
)

// DefaultStateDir is where changes are recorded if [Config] does not say where.
const DefaultStateDir = "/run/hbmfs/nic"

// Config says which queues of which NIC to take.
type Config struct {
	Name     string // of the interface
	Queues   int    // receive queues to take, counted from the last; queue 0 always stays for everyone else
	StateDir string // where changes are recorded before they are made; "" is DefaultStateDir
}

// NIC is a network interface with some receive queues taken out of general use.
type NIC struct {
	k     kernel
	link  link
	taken []int
	slot  *slot

	mu       sync.Mutex // orders all changes, and guards what follows
	rec      *record
	rules    []*Rule
	bindings []*Binding
	closed   bool
}

// Open takes queues of a NIC: it switches TCP header split on, for packets of any
// size, and n-tuple filters, and has RSS spread no packets to the queues. What a
// process that was killed left behind on the NIC is put back before. After an
// error all is as it was. Errors wrap [ErrNoNIC], [ErrDown], [ErrQueues],
// [ErrUnsupported] or [ErrBusy] where these are the reason.
func Open(cfg Config) (*NIC, error) {
	k, err := openSockets()
	if err != nil {
		return nil, err
	}
	n, err := open(k, cfg)
	if err != nil {
		k.Close()
		return nil, err
	}
	return n, nil
}

func open(k kernel, cfg Config) (*NIC, error) {
	l, err := k.linkNamed(cfg.Name)
	if err != nil {
		return nil, err
	}
	n := &NIC{k: k, link: l}
	if err := n.acquire(cfg.StateDir); err != nil {
		return nil, fmt.Errorf("%s: %w", l.Name, err)
	}
	if err := n.take(cfg.Queues); err != nil {
		n.slot.release()
		return nil, fmt.Errorf("%s: %w", l.Name, err)
	}
	return n, nil
}

// acquire locks the NIC for this process, and cleans up after one that died.
func (n *NIC) acquire(dir string) (err error) {
	p, err := here()
	if err != nil {
		return err
	}
	if n.slot, err = claim(cmp.Or(dir, DefaultStateDir), n.link); err != nil {
		return err
	}
	if _, err := n.slot.recover(n.k, p); err != nil {
		n.slot.release()
		return err
	}
	return nil
}

// claim locks a link's slot.
func claim(dir string, l link) (*slot, error) {
	p, err := here()
	if err != nil {
		return nil, err
	}
	if err := secure(dir); err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	s := slotOf(dir, p.netns, l.Index)
	return s, s.acquire()
}

func (n *NIC) take(count int) error {
	all, err := n.k.queues(n.link)
	if err != nil {
		return err
	}
	if n.taken, err = choose(n.link, all, count); err != nil {
		return err
	}
	if err := unused(n.k, n.link, all, n.taken); err != nil {
		return err
	}
	if n.rec, err = survey(n.k, n.link, n.taken); err != nil {
		return err
	}
	p, err := here()
	if err != nil {
		return err
	}
	n.rec.Boot, n.rec.NetNS = p.boot, p.netns
	if err := n.slot.save(n.rec); err != nil {
		return fmt.Errorf("record of the settings: %w", err)
	}
	if err := take(n.k, n.link, n.rec); err != nil {
		return errors.Join(err, n.restore())
	}
	return nil
}

// choose takes the last queues.
func choose(l link, all []queue, count int) ([]int, error) {
	switch {
	case !l.Up || len(all) == 0:
		return nil, fmt.Errorf("%w: ip link set %s up", ErrDown, l.Name)
	case count < 1:
		return nil, fmt.Errorf("%w: %d asked for, at least 1 is needed", ErrQueues, count)
	case len(all) == 1:
		return nil, fmt.Errorf("%w: there is one receive queue, and others need it; see ethtool -L %s", ErrQueues, l.Name)
	case count >= len(all):
		return nil, fmt.Errorf("%w: %d asked for, at most %d of the %d can be; see ethtool -L %s",
			ErrQueues, count, len(all)-1, len(all), l.Name)
	}
	var ids []int
	for _, q := range all[len(all)-count:] {
		ids = append(ids, q.ID)
	}
	return ids, nil
}

// unused refuses queues that somebody chose for their packets: these would land
// in device memory, where a plain read fails.
func unused(k kernel, l link, all []queue, taken []int) error {
	for _, q := range all {
		if slices.Contains(taken, q.ID) && q.owner() != "" {
			return fmt.Errorf("%w: queue %d receives into memory of %s", ErrBusy, q.ID, q.owner())
		}
	}
	rules, err := k.rules(l)
	if err != nil {
		return err
	}
	for _, r := range rules {
		if slices.Contains(taken, r.Queue) {
			return fmt.Errorf("%w: flow rule %d steers to queue %d; see ethtool -n %s", ErrBusy, r.Location, r.Queue, l.Name)
		}
	}
	contexts, err := k.contexts(l)
	if err != nil {
		return err
	}
	for _, c := range contexts {
		if uses(c.Table, taken) {
			return fmt.Errorf("%w: RSS context %d spreads to the queues %v; see ethtool -x %s context %d", ErrBusy, c.ID, taken, l.Name, c.ID)
		}
	}
	return nil
}

// owner is whose memory the queue receives into; "" is the kernel's.
func (q queue) owner() string {
	if q.DMABuf != 0 {
		return fmt.Sprintf("dma-buf binding %d", q.DMABuf)
	}
	return q.Other
}

// Queues gives the queues taken, in rising order.
func (n *NIC) Queues() []int { return slices.Clone(n.taken) }

// Name is the interface's.
func (n *NIC) Name() string { return n.link.Name }

// MTU is what it was at Open.
func (n *NIC) MTU() int { return n.link.MTU }

// RingSize gives the receive descriptors of each queue, for sizing the memory to bind.
func (n *NIC) RingSize() (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return 0, ErrClosed
	}
	r, err := n.k.rings(n.link)
	if err == nil && r.RX == 0 {
		err = &UnsupportedError{What: "size of the receive ring", Remedy: "a driver that tells it is needed (ethtool -g NAME)"}
	}
	return r.RX, err
}

// Close closes what was made of the NIC, and puts its settings back. If that
// fails, the record stays, and [Restore] can try again.
func (n *NIC) Close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return nil
	}
	n.closed = true
	var err error
	for _, b := range n.bindings {
		err = errors.Join(err, b.release())
	}
	n.bindings, n.rules = nil, nil
	err = errors.Join(err, n.restore())
	n.slot.release()
	if err = errors.Join(err, n.k.Close()); err != nil {
		return fmt.Errorf("%s: %w", n.link.Name, err)
	}
	return nil
}

func (n *NIC) restore() error {
	if err := n.slot.undo(n.k, n.rec, n.rec.NetNS); err != nil && !errors.Is(err, ErrNoNIC) {
		return fmt.Errorf("putting settings back: %w", err)
	}
	return n.slot.remove()
}
