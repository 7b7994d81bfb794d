// Package outage is what a mount knows of a target that does not answer: since when,
// and why. It takes no lock, and asks nothing.
package outage

import (
	"errors"
	"sync/atomic"
	"syscall"
	"time"
)

// NoAnswer is why a target is away that can be connected to.
const NoAnswer = "it does not answer"

// Outage is what is known of a target that does not answer. The zero value is
// one that does. Its methods may be called concurrently.
type Outage struct {
	since    atomic.Pointer[time.Time] // nil: it is not away
	answered atomic.Int64              // when it answered last, by clock
	why      atomic.Pointer[error]     // what the latest attempt to connect failed with; nil: it did not
}

// IsOn reports whether the target is known not to answer.
func (o *Outage) IsOn() bool { return o.since.Load() != nil }

// LongerThan reports whether the target has been away for at least that long.
func (o *Outage) LongerThan(d time.Duration) bool {
	since := o.since.Load()
	return since != nil && time.Since(*since) >= d
}

// Begin notes that the target is away, from the given time on if it was not
// before.
func (o *Outage) Begin(since time.Time) { o.since.CompareAndSwap(nil, &since) }

// End notes that the target has answered.
func (o *Outage) End() {
	o.answered.Store(clock(time.Now()))
	if o.IsOn() {
		o.since.Store(nil)
	}
}

// Unanswered notes a call that the target did not answer in time. If it answered
// others meanwhile, it is slow, and not away.
func (o *Outage) Unanswered(began time.Time) {
	if o.answered.Load() < clock(began) {
		o.Begin(began)
	}
}

var clockStart = time.Now()

// clock is a time as a number that never jumps, in nanoseconds.
func clock(at time.Time) int64 { return int64(at.Sub(clockStart)) }

// Report returns since when the target is away, and why; nil while it is not.
func (o *Outage) Report() (since *time.Time, why string) {
	if since = o.since.Load(); since == nil {
		return nil, ""
	}
	return since, o.reason()
}

// reason is why the target can't be reached, as its kernel has it if possible.
func (o *Outage) reason() string {
	err := o.why.Load()
	if err == nil {
		return NoAnswer
	}
	if errno, ok := errors.AsType[syscall.Errno](*err); ok {
		return errno.Error()
	}
	return (*err).Error()
}

// Dialled notes how an attempt to connect ended.
func (o *Outage) Dialled(err error) {
	if err == nil {
		o.why.Store(nil)
		return
	}
	o.why.Store(&err)
}
