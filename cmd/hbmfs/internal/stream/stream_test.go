package stream

import (
	"testing"

	"hbmfs/fs/client"
)

func TestWindowsCoverTheRange(t *testing.T) {
	const extent, window = 4096, 3 * 4096
	for _, r := range []Span{{0, 0}, {0, 1}, {0, window}, {5, window}, {4095, 10 * window}, {1 << 40, 7*window + 3}} {
		s := &stream{window: window, extent: extent, next: r.Off, end: r.Off + r.Len}
		at := r.Off
		for w, ok := s.take(); ok; w, ok = s.take() {
			if w.Off != at || w.Len <= 0 || w.Len > window {
				t.Fatalf("range %+v: window %+v after offset %d", r, w, at)
			}
			if at = w.Off + w.Len; at%extent != 0 && at != s.end {
				t.Fatalf("range %+v: window %+v ends within an extent", r, w)
			}
		}
		if at != s.end {
			t.Errorf("range %+v: the windows end at %d", r, at)
		}
	}
}

func TestWindowsLeaveRoom(t *testing.T) {
	for _, c := range []struct {
		pool, extent, want int64
		inFlight           int
	}{
		{1 << 30, 1 << 20, 16 << 20, 3},
		{64 << 20, 1 << 20, 10 << 20, 3},
		{3 << 20, 1 << 20, 1 << 20, 3},
		{3<<20 - 1, 1 << 20, 1 << 20, 2},
		{1 << 20, 1 << 20, 1 << 20, 1},
		{1 << 30, 4096, 16 * 4096, 3},
	} {
		info := client.Info{ExtentSize: c.extent, Devices: []client.Device{{Pool: c.pool}}}
		if got, inFlight := windows(info); got != c.want || inFlight != c.inFlight {
			t.Errorf("pool %d, extent %d: %d windows of %d, want %d of %d", c.pool, c.extent, inFlight, got, c.inFlight, c.want)
		}
	}
}
