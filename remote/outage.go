package remote

import (
	"errors"
	"sync/atomic"
	"syscall"
	"time"
)

// awayFraction is what part of the time-out a request waits for a target that has
// been away for longer than that: enough for one more try.
const awayFraction = 5

// noAnswer is why a target is away that can be connected to.
const noAnswer = "it does not answer"

// outage is what is known of a target that does not answer. The zero value is
// one that does.
type outage struct {
	since    atomic.Pointer[time.Time] // nil: it is not away
	answered atomic.Int64              // when it answered last, by clock
	why      atomic.Pointer[error]     // what the latest attempt to connect failed with; nil: it did not
}

// isOn reports whether the target is known not to answer.
func (o *outage) isOn() bool { return o.since.Load() != nil }

// begin notes that the target is away, from the given time on if it was not
// before.
func (o *outage) begin(since time.Time) { o.since.CompareAndSwap(nil, &since) }

// end notes that the target has answered.
func (o *outage) end() {
	o.answered.Store(clock(time.Now()))
	if o.isOn() {
		o.since.Store(nil)
	}
}

// unanswered notes a call that the target did not answer in time. If it answered
// others meanwhile, it is slow, and not away.
func (o *outage) unanswered(began time.Time) {
	if o.answered.Load() < clock(began) {
		o.begin(began)
	}
}

var clockStart = time.Now()

// clock is a time as a number that never jumps, in nanoseconds.
func clock(at time.Time) int64 { return int64(at.Sub(clockStart)) }

// report returns since when the target is away, and why; nil while it is not.
func (o *outage) report() (since *time.Time, why string) {
	if since = o.since.Load(); since == nil {
		return nil, ""
	}
	return since, o.reason()
}

// reason is why the target can't be reached, as its kernel has it if possible.
func (o *outage) reason() string {
	err := o.why.Load()
	if err == nil {
		return noAnswer
	}
	if errno, ok := errors.AsType[syscall.Errno](*err); ok {
		return errno.Error()
	}
	return (*err).Error()
}

// dialled notes how an attempt to connect ended.
func (o *outage) dialled(err error) {
	if err == nil {
		o.why.Store(nil)
		return
	}
	o.why.Store(&err)
}
