package nic

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"golang.org/x/sys/unix"
)

// fakeKernel is a NIC in this process's memory.
type fakeKernel struct {
	l       link
	gone    bool
	all     []queue
	ring    rings
	nt      feature
	table   []uint32
	ctx     []rssContext
	have    map[uint32]flow
	foreign []rule
	nextID  uint32

	noSplit error // what a question for header split gets

	deaf   bool // a driver that ignores ring settings
	calls  int  // of changes
	failAt int  // the change that fails, from 1
	failed error
}

func newFake() *fakeKernel {
	k := &fakeKernel{
		l:     link{Index: 7, Name: "fake0", MTU: 9000, Up: true, Parent: "test/fake.0"},
		ring:  rings{RX: 1024, Split: splitOff, HasThresh: true, Thresh: 256},
		nt:    feature{Changeable: true},
		have:  map[uint32]flow{},
		table: fakeDefault(),
	}
	for i := range 4 {
		k.all = append(k.all, queue{ID: i})
	}
	return k
}

func fakeDefault() []uint32 { return spread(4) }

func spread(queues int) (table []uint32) {
	for i := range uint32(16) {
		table = append(table, i%uint32(queues))
	}
	return table
}

// state is all that a change can change.
func (k *fakeKernel) state() string {
	return fmt.Sprint(k.all, k.ring, k.nt, k.table, slices.SortedFunc(maps.Values(k.have), func(a, b flow) int { return cmp.Compare(a.Queue, b.Queue) }))
}

// change counts, and fails when it is time to.
func (k *fakeKernel) change() error {
	k.calls++
	if k.gone {
		return unix.ENODEV
	}
	if k.calls == k.failAt {
		return k.failed
	}
	return nil
}

func (k *fakeKernel) read() error {
	if k.gone {
		return unix.ENODEV
	}
	return nil
}

func (k *fakeKernel) linkNamed(name string) (link, error) {
	if k.gone || name != k.l.Name {
		return link{}, ErrNoNIC
	}
	return k.l, nil
}

func (k *fakeKernel) linkAt(index int) (link, error) {
	if k.gone || index != k.l.Index {
		return link{}, ErrNoNIC
	}
	return k.l, nil
}

func (k *fakeKernel) links() ([]link, error) {
	all := []link{{Index: 1, Name: "lo", Up: true}}
	if !k.gone {
		all = append(all, k.l)
	}
	return all, nil
}
func (k *fakeKernel) driver(link) (string, error)         { return "fake", k.read() }
func (k *fakeKernel) queues(link) ([]queue, error)        { return slices.Clone(k.all), k.read() }
func (k *fakeKernel) rings(link) (rings, error)           { return k.ring, k.read() }
func (k *fakeKernel) ntuple(link) (feature, error)        { return k.nt, k.read() }
func (k *fakeKernel) rss(link) ([]uint32, error)          { return slices.Clone(k.table), k.read() }
func (k *fakeKernel) contexts(link) ([]rssContext, error) { return k.ctx, k.read() }
func (k *fakeKernel) Close() error                        { return nil }

func (k *fakeKernel) setRings(_ link, c ringChange) error {
	if c.Split != nil && *c.Split == k.ring.Split && c.Thresh == nil {
		return k.noSplit
	}
	if err := k.change(); err != nil || k.deaf {
		return err
	}
	if c.Split != nil {
		k.ring.Split = *c.Split
	}
	if c.Thresh != nil {
		k.ring.Thresh = *c.Thresh
	}
	return nil
}

func (k *fakeKernel) setNTuple(_ link, on bool) error {
	if err := k.change(); err != nil {
		return err
	}
	k.nt.On = on
	return nil
}

func (k *fakeKernel) setRSS(_ link, table []uint32) error {
	if err := k.change(); err != nil {
		return err
	}
	if table == nil {
		table = spread(len(k.all))
	}
	if slices.Max(table) >= uint32(len(k.all)) {
		return unix.EINVAL
	}
	k.table = slices.Clone(table)
	return nil
}

func (k *fakeKernel) rules(link) ([]rule, error) {
	all := slices.Clone(k.foreign)
	for loc, f := range k.have {
		s := f.spec(loc)
		all = append(all, s.rule())
	}
	return all, k.read()
}

func (k *fakeKernel) insertRule(_ link, f flow) (uint32, error) {
	if err := k.change(); err != nil {
		return 0, err
	}
	loc := uint32(0)
	for ; k.have[loc] != (flow{}); loc++ {
	}
	k.have[loc] = f
	return loc, nil
}

func (k *fakeKernel) deleteRule(_ link, loc uint32) error {
	if err := k.change(); err != nil {
		return err
	}
	if _, ok := k.have[loc]; !ok {
		return unix.ENOENT
	}
	delete(k.have, loc)
	return nil
}

type fakeBinding func()

func (f fakeBinding) Close() error { f(); return nil }

func (k *fakeKernel) bind(_ link, _ int, queues []int) (uint32, io.Closer, error) {
	if err := k.change(); err != nil {
		return 0, nil, err
	}
	for _, q := range queues {
		if k.all[q].DMABuf != 0 {
			return 0, nil, unix.EEXIST
		}
	}
	k.nextID++
	for _, q := range queues {
		k.all[q].DMABuf = k.nextID
	}
	return k.nextID, fakeBinding(func() {
		for _, q := range queues {
			k.all[q].DMABuf = 0
		}
	}), nil
}

var errInjected = errors.New("injected")
