package main

import (
	"errors"
	"slices"
)

// undo is what must be taken down, in the order in which it was set up.
type undo struct {
	steps []func() error
}

// add registers a step. It runs once, also after a failure or an interrupt.
func (u *undo) add(step func() error) { u.steps = append(u.steps, step) }

// run takes everything down, last first, and goes on past errors.
func (u *undo) run() error {
	var errs []error
	for _, step := range slices.Backward(u.steps) {
		errs = append(errs, step())
	}
	u.steps = nil
	return errors.Join(errs...)
}
