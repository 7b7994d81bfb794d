package fs

import (
	"testing"
	"time"

	"hbmfs/remote/prefetch"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// TestBelieve: what came with an age is believed for that much less, and what is
// too old not at all.
func TestBelieve(t *testing.T) {
	for age, want := range map[time.Duration]time.Duration{
		0:               nameTimeout,
		prefetch.MaxAge: nameTimeout - prefetch.MaxAge,
		nameTimeout:     0,
		2 * nameTimeout: 0,
	} {
		var out fuse.EntryOut
		new(tree).believe(&out, age)
		if out.EntryTimeout() != want || out.AttrTimeout() != want {
			t.Errorf("%v old: name %v, attributes %v", age, out.EntryTimeout(), out.AttrTimeout())
		}
	}
}
