// Package term counts for how long a mount may vouch for what it has open.
//
// A mount that answers from its own memory says that a file is still the version
// that it was opened as. It may say so without asking for a term, which it
// counts from when it sent the request that the target granted it for, by its
// own clock. The target counts the same term from when it answered, which is
// later, and lets no writer go before the mount has acknowledged the change or
// the term has passed. So the two clocks need not agree, only run alike.
//
// Locking: Renewer.mu guards a Renewer's state, and is not held while a message is
// sent.
package term

import (
	"time"

	"golang.org/x/sys/unix"
)

// Length is what a target grants, and so how long a mount can hold up a writer.
const Length = 500 * time.Millisecond

// drift is the part of a term that a mount gives away for a clock that runs
// slower than the target's: adjtimex(2) lets a tick be off by a tenth.
const drift = 10

// Usable returns how much of a granted term a mount may use.
func Usable(granted time.Duration) time.Duration { return granted - granted/drift }

// Clock returns the time since some moment. It never goes back.
type Clock func() time.Duration

// Boot is the clock of this host that goes on while it is suspended
// (CLOCK_BOOTTIME). It stands still while a hypervisor has the host paused.
func Boot() time.Duration {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		panic("clock_gettime CLOCK_BOOTTIME: " + err.Error()) // Linux 2.6.39 has it
	}
	return time.Duration(now.Nano())
}
