package main

import (
	"context"
	"fmt"
	"slices"
)

// measure takes one measurement, in the row's unit.
type measure func(context.Context) (float64, error)

// sample is the measurements of one side of a row, in the order they were taken.
type sample []float64

// median is the middle value, or the mean of the two in the middle; 0 of none.
func (s sample) median() float64 {
	if len(s) == 0 {
		return 0
	}
	v := slices.Sorted(slices.Values(s))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

func (s sample) min() float64 { return slices.Min(s) }
func (s sample) max() float64 { return slices.Max(s) }

// interleave measures each side once without counting it, then all of them in
// turn, rounds times.
func interleave(ctx context.Context, rounds int, say func(string), sides ...measure) ([]sample, error) {
	samples := make([]sample, len(sides))
	for round := 0; round <= rounds; round++ {
		for i, side := range sides {
			if err := context.Cause(ctx); err != nil {
				return nil, err
			}
			v, err := side(ctx)
			if err != nil {
				return nil, fmt.Errorf("round %d: %w", round, err)
			}
			if round > 0 {
				samples[i] = append(samples[i], v)
			}
		}
		say(fmt.Sprintf("round %d of %d", round, rounds))
	}
	return samples, nil
}
