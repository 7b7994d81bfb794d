package client

import (
	"fmt"
	"syscall"
	"time"

	"hbmfs/fs/uapi"
)

// wait is until when a fetch may wait for room, however often a signal has it made
// anew. The zero wait is that of one which may not.
type wait struct{ until time.Time }

// newWait is a wait of d from now on. The error wraps EINVAL.
func newWait(d time.Duration) (wait, error) {
	switch {
	case d == 0:
		return wait{}, nil
	case d < 0 || d > uapi.WaitMSMax*time.Millisecond:
		return wait{}, fmt.Errorf("%w: wait of %v, must be 0 to %v", syscall.EINVAL, d, uapi.WaitMSMax*time.Millisecond)
	}
	return wait{time.Now().Add(d)}, nil
}

// put says in a request how long it may still wait, rounded up.
func (w wait) put(req *uapi.Fetch) {
	if w.until.IsZero() {
		return
	}
	left := max(0, time.Until(w.until))
	req.Size = uint32(uapi.FetchSize)
	req.Flags |= uapi.FetchWait
	req.WaitMS = uint32((left + time.Millisecond - 1) / time.Millisecond)
}
