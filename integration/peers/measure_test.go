package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
)

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		s    sample
		want float64
	}{{nil, 0}, {sample{3}, 3}, {sample{9, 1, 2}, 2}, {sample{4, 1, 3, 2}, 2.5}} {
		before := slices.Clone(c.s)
		if got := c.s.median(); got != c.want || !slices.Equal(c.s, before) {
			t.Errorf("median of %v = %v, left %v; want %v", before, got, c.s, c.want)
		}
	}
}

// counter is a measure that records when it ran and returns how often it did.
func counter(name byte, order *[]byte) measure {
	n := 0.0
	return func(context.Context) (float64, error) {
		*order = append(*order, name)
		n++
		return n, nil
	}
}

func TestInterleaveDropsTheFirstRound(t *testing.T) {
	var order []byte
	got, err := interleave(t.Context(), 2, func(string) {}, counter('A', &order), counter('B', &order))
	if err != nil || string(order) != "ABABAB" {
		t.Fatalf("order %s, error %v; want ABABAB", order, err)
	}
	for i, s := range got {
		if !slices.Equal(s, sample{2, 3}) {
			t.Errorf("side %d: %v, want [2 3]", i, s)
		}
	}
}

func TestInterleaveStops(t *testing.T) {
	boom := errors.New("boom")
	fails := func(context.Context) (float64, error) { return 0, boom }
	if _, err := interleave(t.Context(), 1, func(string) {}, fails); !errors.Is(err, boom) {
		t.Errorf("error %v, want boom", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var order []byte
	if _, err := interleave(ctx, 1, func(string) {}, counter('A', &order)); !errors.Is(err, context.Canceled) || len(order) > 0 {
		t.Errorf("error %v after %d runs, want Canceled and none", err, len(order))
	}
}

func TestRules(t *testing.T) {
	for _, c := range []struct {
		rule       rule
		ours, peer float64
		figure     float64
		met        bool
	}{
		{atLeast(1.5), 3, 2, 1.5, true},
		{atLeast(1.5), 2.9, 2, 1.45, false},
		{faster(3), 1, 3, 3, true},
		{faster(3), 2, 3, 1.5, false},
		{within(1.3), 13, 10, 1.3, true},
		{within(1.3), 14, 10, 1.4, false},
		{atLeast(1), 1, 0, 0, false},
	} {
		f := c.rule.figure(c.ours, c.peer)
		if f != c.figure || c.rule.met(f) != c.met {
			t.Errorf("%v of %v and %v: %v, met %v; want %v, %v", c.rule, c.ours, c.peer, f, c.rule.met(f), c.figure, c.met)
		}
	}
}

func newTestBench() *bench { return &bench{options: options{rounds: 2}} }

func constantPair(ours, peer float64, undone *bool) func(context.Context, *stage) (pair, error) {
	return func(_ context.Context, s *stage) (pair, error) {
		s.undo.add(func() error { *undone = true; return nil })
		return pair{ours: constant(ours), peer: constant(peer), note: "a note"}, nil
	}
}

func TestMeasureRow(t *testing.T) {
	t.Setenv("PATH", "")
	boom := errors.New("boom")
	var undone bool
	for _, c := range []struct {
		row    row
		status status
		note   string
	}{
		{row{rule: atLeast(2), open: constantPair(4, 2, &undone)}, met, "a note"},
		{row{rule: atLeast(2), open: constantPair(3, 2, &undone)}, below, "a note"},
		{row{rule: atLeast(2), needs: []string{fioTool}}, notMeasured,
			"fio not installed: apt-get install fio"},
		{row{rule: atLeast(2), open: func(_ context.Context, s *stage) (pair, error) {
			s.undo.add(func() error { undone = true; return nil })
			return pair{}, boom
		}}, failed, "boom"},
		{row{rule: atLeast(2), open: func(_ context.Context, s *stage) (pair, error) {
			undone = true
			return pair{}, fmt.Errorf("%w: no such commit", errLeftOut)
		}}, notMeasured, "left out: no such commit"},
	} {
		undone = c.row.open == nil
		got := newTestBench().measureRow(t.Context(), c.row)
		if got.status != c.status || got.note != c.note || !undone {
			t.Errorf("status %s, note %q, undone %v; want %s, %q", got.status, got.note, undone, c.status, c.note)
		}
	}
}
