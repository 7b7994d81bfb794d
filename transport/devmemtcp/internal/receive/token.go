package receive

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

// ErrTokens: the kernel freed less than was given back, so some of it was not
// ours, or was given back before.
var ErrTokens = errors.New("the kernel knows only some of the tokens given back")

// TokenRange is struct dmabuf_token of linux/uio.h, Linux 6.12.
type TokenRange struct {
	_            structs.HostLayout
	Start, Count uint32
}

// Tokens is what is to be given back, in as few ranges as its order allows.
type Tokens struct {
	ranges []TokenRange
	count  int
}

// Add adds a token.
func (t *Tokens) Add(token uint32) {
	t.count++
	if last := len(t.ranges) - 1; last >= 0 && t.ranges[last].Start+t.ranges[last].Count == token && t.ranges[last].Count < maxFragments {
		t.ranges[last].Count++
		return
	}
	t.ranges = append(t.ranges, TokenRange{Start: token, Count: 1})
}

// AddParts adds those of parts.
func (t *Tokens) AddParts(parts []Part) {
	for _, p := range parts {
		if !p.Host {
			t.Add(p.Token)
		}
	}
}

func (t *Tokens) reset() { t.ranges, t.count = t.ranges[:0], 0 }

// nextCall cuts from ranges as many as one call takes, and returns them with their
// number of fragments.
func nextCall(ranges []TokenRange) (call, rest []TokenRange, fragments int) {
	for i, r := range ranges {
		if i == maxRanges || i > 0 && fragments+int(r.Count) > maxFragments {
			return ranges[:i], ranges[i:], fragments
		}
		fragments += int(r.Count)
	}
	return ranges, nil, fragments
}

// giveBack returns all of t to the kernel, and says how many calls that took.
// The error wraps ErrTokens if the kernel knew fewer.
func (t *Tokens) giveBack(s Socket) (calls int, err error) {
	for rest := t.ranges; len(rest) > 0; {
		var call []TokenRange
		var want int
		call, rest, want = nextCall(rest)
		got, err := s.DontNeed(call)
		calls++
		if err != nil {
			return calls, err
		}
		if got != want {
			return calls, fmt.Errorf("%w: %d of %d", ErrTokens, got, want)
		}
	}
	return calls, nil
}
