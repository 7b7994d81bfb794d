package nic

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// survey reads what take will change.
func survey(k kernel, l link, taken []int) (*record, error) {
	r := &record{Index: l.Index, Name: l.Name, Parent: l.Parent, Queues: taken}
	ring, err := k.rings(l)
	if err != nil {
		return nil, err
	}
	if ring.Split != splitOn {
		r.Split = &ring.Split
	}
	if ring.HasThresh && ring.Thresh != 0 {
		r.Thresh = &ring.Thresh
	}
	nt, err := k.ntuple(l)
	if err != nil {
		return nil, err
	}
	if !nt.On {
		r.NTuple = &nt.On
	}
	table, err := k.rss(l)
	if err != nil {
		return nil, err
	}
	if uses(table, taken) {
		r.RSS = table
	}
	return r, nil
}

// take changes what the record has, and reads back whether it is so: some
// drivers ignore what they don't support.
func take(k kernel, l link, r *record) error {
	if r.NTuple != nil {
		if err := k.setNTuple(l, true); err != nil {
			return err
		}
	}
	if err := splitHeaders(k, l, r); err != nil {
		return err
	}
	if r.RSS != nil {
		if err := k.setRSS(l, r.reducedRSS()); err != nil {
			return err
		}
	}
	if err := verify(k, l, r.Queues); err != nil {
		return fmt.Errorf("the driver did not take the settings: %w", err)
	}
	return nil
}

func splitHeaders(k kernel, l link, r *record) error {
	var c ringChange
	if on := splitOn; r.Split != nil {
		c.Split = &on
	}
	if zero := uint32(0); r.Thresh != nil {
		c.Thresh = &zero
	}
	if c == (ringChange{}) {
		return nil
	}
	return k.setRings(l, c)
}

// reducedRSS is the table that takes the place of RSS.
func (r *record) reducedRSS() []uint32 { return without(r.RSS, r.Queues, r.kept()) }

// kept is the number of queues before the first taken one: all the others.
func (r *record) kept() int { return r.Queues[0] }

// verify reads whether a NIC is set as take sets it.
func verify(k kernel, l link, taken []int) error {
	ring, err := k.rings(l)
	if err != nil {
		return err
	}
	nt, err := k.ntuple(l)
	if err != nil {
		return err
	}
	table, err := k.rss(l)
	if err != nil {
		return err
	}
	return errors.Join(checkRings(ring), checkNTuple(nt), checkRSS(table, taken))
}

func checkRings(r rings) error {
	if r.Split != splitOn {
		return fmt.Errorf("%w: TCP header split is %v (ethtool -G NAME tcp-data-split on)", ErrChanged, r.Split)
	}
	if r.HasThresh && r.Thresh != 0 {
		return fmt.Errorf("%w: hds-thresh is %d, not 0 (ethtool -G NAME hds-thresh 0)", ErrChanged, r.Thresh)
	}
	return nil
}

func checkNTuple(f feature) error {
	if !f.On {
		return fmt.Errorf("%w: n-tuple filters are off (ethtool -K NAME ntuple on)", ErrChanged)
	}
	return nil
}

func checkRSS(table []uint32, taken []int) error {
	if uses(table, taken) {
		return fmt.Errorf("%w: the RSS table spreads other packets to the queues %v (ethtool -x NAME)", ErrChanged, taken)
	}
	return nil
}

// putBack undoes on l what the record has, as far as it can. What somebody else
// has set meanwhile is left alone.
func putBack(k kernel, l link, r *record) error {
	return errors.Join(dropFlows(k, l, r.Flows), putBackRSS(k, l, r), putBackRings(k, l, r), putBackNTuple(k, l, r))
}

func dropFlows(k kernel, l link, flows []flow) error {
	if len(flows) == 0 {
		return nil
	}
	rules, err := k.rules(l)
	if err != nil {
		return err
	}
	for _, have := range rules {
		if have.Exact && slices.Contains(flows, have.Flow) {
			if e := k.deleteRule(l, have.Location); !errors.Is(e, unix.ENOENT) {
				err = errors.Join(err, needNTuple.failed(e))
			}
		}
	}
	return err
}

// putBackRSS goes by the kernel's default where that is the table: an explicit
// one would bind the driver to it when the number of queues changes. A table
// that no longer fits the queues gives way to the default.
func putBackRSS(k kernel, l link, r *record) error {
	if r.RSS == nil {
		return nil
	}
	now, err := k.rss(l)
	if err != nil || !slices.Equal(now, r.reducedRSS()) {
		return err
	}
	if err := k.setRSS(l, nil); err != nil {
		return err
	}
	if now, err = k.rss(l); err != nil || slices.Equal(now, r.RSS) {
		return err
	}
	if err = k.setRSS(l, r.RSS); errors.Is(err, unix.EINVAL) {
		return nil
	}
	return err
}

func putBackRings(k kernel, l link, r *record) error {
	if r.Split == nil && r.Thresh == nil {
		return nil
	}
	now, err := k.rings(l)
	if err != nil {
		return err
	}
	var c ringChange
	if now.Split == splitOn {
		c.Split = r.Split
	}
	if now.Thresh == 0 {
		c.Thresh = r.Thresh
	}
	if c == (ringChange{}) {
		return nil
	}
	return k.setRings(l, c)
}

// putBackNTuple leaves the filters on where somebody else has rules: the kernel
// would drop them.
func putBackNTuple(k kernel, l link, r *record) error {
	if r.NTuple == nil {
		return nil
	}
	now, err := k.ntuple(l)
	if err != nil || !now.On {
		return err
	}
	if rules, err := k.rules(l); err != nil || len(rules) > 0 {
		return err
	}
	return k.setNTuple(l, *r.NTuple)
}

// uses says whether a table spreads packets to one of the queues.
func uses(table []uint32, queues []int) bool {
	return slices.ContainsFunc(table, func(q uint32) bool { return slices.Contains(queues, int(q)) })
}

// without is the table with other queues in the place of those taken: in turn
// those that it has anyway, else all that are kept.
func without(table []uint32, taken []int, kept int) []uint32 {
	var others []uint32
	for _, q := range table {
		if !slices.Contains(taken, int(q)) && !slices.Contains(others, q) {
			others = append(others, q)
		}
	}
	if len(others) == 0 {
		for q := range kept {
			others = append(others, uint32(q))
		}
	}
	out := slices.Clone(table)
	next := 0
	for i, q := range out {
		if slices.Contains(taken, int(q)) {
			out[i] = others[next%len(others)]
			next++
		}
	}
	return out
}
