package fs

import (
	"math"
	"testing"

	"hbmfs/cache"
	"hbmfs/fs/uapi"
)

// TestAccess: a FETCH that begins where the one before it ended is of a run, unless
// it says otherwise; one of nothing changes nothing.
func TestAccess(t *testing.T) {
	var h handle
	h.end.Store(-1)
	for i, c := range []struct {
		off, n uint64
		flags  uint32
		want   cache.Access
	}{
		{0, 100, 0, cache.Exact},
		{100, 100, 0, cache.Run},
		{200, 100, uapi.FetchRandom, cache.Exact},
		{300, 0, 0, cache.Exact},
		{300, 100, uapi.FetchLoan, cache.Run},
		{300, 100, 0, cache.Exact},
		{1 << 40, math.MaxInt64 - 1<<40, 0, cache.Exact},
		{math.MaxInt64, 0, 0, cache.Exact},
		{0, 100, uapi.FetchSequential, cache.Run},
		{50, 50, 0, cache.Exact},
		{100, 1, uapi.FetchRandom | uapi.FetchLoan, cache.Exact},
	} {
		if got := h.access(&uapi.Fetch{Offset: c.off, Length: c.n, Flags: c.flags}); got != c.want {
			t.Errorf("FETCH %d, of %d at %d: %v, want %v", i, c.n, c.off, got, c.want)
		}
	}
}
