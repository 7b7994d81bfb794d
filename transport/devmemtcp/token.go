package devmemtcp

import (
	"errors"
	"fmt"
	"structs"
)

// What one call of SO_DEVMEM_DONTNEED takes: MAX_DONTNEED_TOKENS and
// MAX_DONTNEED_FRAGS in net/core/sock.c of Linux 6.12. The kernel frees the first
// 1024 fragments of more, and says how many that were.
const (
	maxRanges    = 128
	maxFragments = 1024
)

// errTokens: the kernel freed less than was given back, so some of it was not
// ours, or was given back before.
var errTokens = errors.New("the kernel knows only some of the tokens given back")

// tokenRange is struct dmabuf_token of linux/uio.h, Linux 6.12.
type tokenRange struct {
	_            structs.HostLayout
	start, count uint32
}

// tokens is what is to be given back, in as few ranges as its order allows.
type tokens struct {
	ranges []tokenRange
	count  int
}

func (t *tokens) add(token uint32) {
	t.count++
	if last := len(t.ranges) - 1; last >= 0 && t.ranges[last].start+t.ranges[last].count == token && t.ranges[last].count < maxFragments {
		t.ranges[last].count++
		return
	}
	t.ranges = append(t.ranges, tokenRange{start: token, count: 1})
}

func (t *tokens) reset() { t.ranges, t.count = t.ranges[:0], 0 }

// next cuts from ranges as many as one call takes, and returns them with their
// number of fragments. It shortens the first range of the rest where that is
// needed to stay below the limit.
func nextCall(ranges []tokenRange) (call, rest []tokenRange, fragments int) {
	for i, r := range ranges {
		if i == maxRanges || i > 0 && fragments+int(r.count) > maxFragments {
			return ranges[:i], ranges[i:], fragments
		}
		fragments += int(r.count)
	}
	return ranges, nil, fragments
}

// giveBack returns all of t to the kernel, and says how many calls that took.
// The error wraps errTokens if the kernel knew fewer.
func (t *tokens) giveBack(s socket) (calls int, err error) {
	for rest := t.ranges; len(rest) > 0; {
		var call []tokenRange
		var want int
		call, rest, want = nextCall(rest)
		got, err := s.DontNeed(call)
		calls++
		if err != nil {
			return calls, err
		}
		if got != want {
			return calls, fmt.Errorf("%w: %d of %d", errTokens, got, want)
		}
	}
	return calls, nil
}
