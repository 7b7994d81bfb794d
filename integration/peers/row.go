package main

import (
	"context"
	"errors"
	"fmt"
)

// unit is how a row's values are written: value / per, then name. base is what
// they are before that.
type unit struct {
	name string
	per  float64
	base string
}

var (
	gigabytes = unit{"GB/s", 1e9, "bytes/s"}
	thousands = unit{"k/s", 1e3, "1/s"}
	micros    = unit{"µs", 1e-6, "s"}
	seconds   = unit{"s", 1, "s"}
	mebibytes = unit{"MiB", 1 << 20, "bytes"}
	objects   = unit{"objects", 1, "objects"}
)

func (u unit) format(v float64) string { return fmt.Sprintf("%.3g", v/u.per) }

// rule is how a row's two medians become one figure, and what that must be.
type rule struct {
	inverse bool    // peer / ours: both are times, and less is better
	atMost  bool    // the figure's bound is an upper one
	bound   float64 // of the figure
}

func atLeast(bound float64) rule { return rule{bound: bound} }
func faster(bound float64) rule  { return rule{bound: bound, inverse: true} }
func within(bound float64) rule  { return rule{bound: bound, atMost: true} }

func (r rule) figure(ours, peer float64) float64 {
	if r.inverse {
		ours, peer = peer, ours
	}
	if peer == 0 {
		return 0
	}
	return ours / peer
}

func (r rule) met(figure float64) bool {
	if r.atMost {
		return figure <= r.bound
	}
	return figure >= r.bound
}

func (r rule) String() string {
	if r.atMost {
		return fmt.Sprintf("≤ %.2f", r.bound)
	}
	return fmt.Sprintf("≥ %.2f", r.bound)
}

// row is one line of the table: two things that are measured in turn.
type row struct {
	id, what, beside string
	unit             unit
	rule             rule
	needs            []string
	// open starts what the row needs and returns its two sides. What it started
	// is registered with the stage, also if it fails half-way.
	open func(context.Context, *stage) (pair, error)
}

// pair is the two sides of a row, and what a reader must know of how they ran.
type pair struct {
	ours, peer measure
	// warm runs before each measurement: it brings what the target serves into
	// the page cache, from where somebody may have dropped it meanwhile.
	warm func(context.Context) error
	note string
	// costs are what the sides took of the CPU, or nil. Measuring fills them in.
	costs [2]*cost
}

// stage is what one row may use: the bench, and a list of its own of what to
// take down when the row ends.
type stage struct {
	*bench
	undo undo
}

// errLeftOut says that a row's peer can't be had here, and why.
var errLeftOut = errors.New("left out")

// status is how a row ended.
type status string

const (
	met         status = "ok"
	below       status = "BELOW"
	notMeasured status = "not measured"
	failed      status = "FAILED"
)

// result is a row and what came out.
type result struct {
	row
	status     status
	ours, peer sample
	note       string // of the pair, or why there is no measurement
	costs      [2]*cost
}

// figure is the row's ratio of medians.
func (r result) figure() float64 { return r.rule.figure(r.ours.median(), r.peer.median()) }

// spread is the least and the greatest ratio of the rounds, each by itself.
func (r result) spread() (lo, hi float64) {
	var s sample
	for i := range r.ours {
		s = append(s, r.rule.figure(r.ours[i], r.peer[i]))
	}
	return s.min(), s.max()
}

// measureRow runs one row from its set-up to its taking down.
func (b *bench) measureRow(ctx context.Context, r row) (res result) {
	res = result{row: r}
	if missing := missingTools(r.needs); missing != "" {
		res.status, res.note = notMeasured, missing
		return res
	}
	st := &stage{bench: b}
	err := res.take(ctx, st)
	if downErr := st.undo.run(); err == nil {
		err = downErr
	}
	switch {
	case errors.Is(err, errLeftOut):
		res.status, res.note = notMeasured, err.Error()
	case err != nil:
		res.status, res.note = failed, err.Error()
	}
	return res
}

func (r *result) take(ctx context.Context, st *stage) error {
	p, err := r.open(ctx, st)
	if err != nil {
		return err
	}
	samples, err := interleave(ctx, st.rounds, st.say, warmed(p.warm, p.ours), warmed(p.warm, p.peer))
	if err != nil {
		return err
	}
	r.ours, r.peer, r.note = samples[0], samples[1], p.note
	r.costs = [2]*cost{p.costs[0].counted(), p.costs[1].counted()}
	r.status = below
	if r.rule.met(r.figure()) {
		r.status = met
	}
	return nil
}

// warmed runs warm, if there is one, before it measures.
func warmed(warm func(context.Context) error, m measure) measure {
	if warm == nil {
		return m
	}
	return func(ctx context.Context) (float64, error) {
		if err := warm(ctx); err != nil {
			return 0, err
		}
		return m(ctx)
	}
}
