package transport

import (
	"cmp"
	"errors"
	"slices"

	"hbmfs/fs/uapi"
)

// Choice is which candidate serves a memory, by its number, how it does, and why
// none does more directly.
type Choice struct {
	Number int
	Plan   Plan
	Why    uapi.Reason
}

// Choose decides which candidate serves a memory: the most direct one that plans it
// so, and of equally direct ones the first. plan asks a candidate without a link, or
// says what is best of one that has a link already. attach gives the memory to its
// link, which it dials if there is none, and returns that one's plan; it is called for no
// more candidates than it takes, and the caller undoes what was not chosen.
//
// An error of theirs that wraps [ErrUnavailable] refuses a candidate, and any other
// ends the choice. If none is left, the error is as [Select]'s.
func (s *Selection) Choose(plan, attach func(number int) (Plan, error)) (Choice, error) {
	c := choosing{Selection: s, all: s.Verdicts(), best: Choice{Number: -1}}
	c.begin()
	for b, ok := c.next(); ok; b, ok = c.next() {
		ask := attach
		if !b.planned {
			ask = plan
		}
		if err := c.hear(b, ask); err != nil {
			return c.best, err
		}
	}
	return c.end()
}

// bid is what a candidate may do for a memory.
type bid struct {
	number  int
	path    uapi.Path // it has no more direct one
	planned bool      // for this memory
}

// choosing is the choice for one memory.
type choosing struct {
	*Selection
	all  []Verdict
	bids []bid
	best Choice // its Why is what a more direct candidate lacks
}

func (c *choosing) begin() {
	for i, v := range c.all {
		if !v.barred {
			c.bids = append(c.bids, bid{number: i, path: v.Path})
		}
	}
}

// next takes the bid that may be the most direct, if that is more than what was found.
func (c *choosing) next() (bid, bool) {
	if len(c.bids) == 0 {
		return bid{}, false
	}
	b := slices.MinFunc(c.bids, func(a, b bid) int {
		return cmp.Or(cmp.Compare(b.path, a.path), cmp.Compare(a.number, b.number))
	})
	c.bids = slices.DeleteFunc(c.bids, func(o bid) bool { return o.number == b.number })
	return b, c.best.Number < 0 || b.path > c.best.Plan.Path
}

// hear asks a bidder. The error is not the candidate's alone.
func (c *choosing) hear(b bid, ask func(number int) (Plan, error)) error {
	p, err := ask(b.number)
	if err == nil {
		err = c.admit(p)
	}
	v := &c.all[b.number]
	v.tried, v.Err = true, err
	if p.Path < v.Path && p.Why != uapi.WhyBest {
		c.best.Why = p.Why
	}
	switch {
	case err != nil:
		if !errors.Is(err, ErrUnavailable) || errors.Is(err, ErrRevoked) {
			return err
		}
	case !b.planned:
		c.bids = append(c.bids, bid{b.number, p.Path, true})
	case c.best.Number < 0 || p.Path > c.best.Plan.Path:
		c.best.Number, c.best.Plan = b.number, p
	}
	return nil
}

func (c *choosing) end() (Choice, error) {
	defer c.publish(c.all)
	if c.best.Number < 0 {
		return c.best, c.refusal(c.all)
	}
	c.best.Why = c.why(c.best)
	v := &c.all[c.best.Number]
	v.Plan, v.Why, v.Chosen = c.best.Plan, c.best.Why, true
	return c.best, nil
}

// why is the reason for a choice, of which c.Why is what a more direct candidate lacks.
func (s *Selection) why(c Choice) uapi.Reason {
	switch {
	case c.Plan.Why != uapi.WhyBest:
		return c.Plan.Why
	case c.Why != uapi.WhyBest || c.Plan.Path.Direct():
		return c.Why
	case s.want != Auto:
		return uapi.WhyRequested
	}
	return uapi.WhyNoDirect
}
