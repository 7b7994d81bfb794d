package fs

import (
	"testing"
	"time"

	"hbmfs/remote/prefetch"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// TestBelieve: what came with an age is believed for that much less, and what is
// too old for an instant: no time-out at all would be the mount's default.
func TestBelieve(t *testing.T) {
	for age, want := range map[time.Duration]time.Duration{
		0:               nameTimeout,
		prefetch.MaxAge: nameTimeout - prefetch.MaxAge,
		nameTimeout:     time.Nanosecond,
		2 * nameTimeout: time.Nanosecond,
	} {
		var out fuse.EntryOut
		believe(&out, age)
		if out.EntryTimeout() != want || out.AttrTimeout() != want {
			t.Errorf("%v old: name %v, attributes %v", age, out.EntryTimeout(), out.AttrTimeout())
		}
	}
}
