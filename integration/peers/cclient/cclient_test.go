package cclient

import (
	"errors"
	"testing"
)

const (
	ioctlLine = "ioctl         123        61 /s        0 misses\n"
	oneLine   = "depth 1       500     249.5 /s        0 misses\n"
	deepLine  = "depth 64    12345      6172 /s        0 misses"
)

func TestParse(t *testing.T) {
	r, err := parse(ioctlLine + oneLine + deepLine)
	if want := (Rates{61, 249.5, 6172}); err != nil || r != want {
		t.Errorf("%+v, error %v; want %+v", r, err, want)
	}
	for _, bad := range []string{"", ioctlLine + oneLine, ioctlLine + deepLine, ioctlLine + oneLine + "depth 64 many"} {
		if r, err := parse(bad); err == nil || r != (Rates{}) {
			t.Errorf("%q: %+v, error %v", bad, r, err)
		}
	}
	if _, err := parse("ioctl 5 5 /s 1 misses\n" + oneLine + deepLine); !errors.Is(err, errCold) {
		t.Errorf("a miss: %v", err)
	}
}
