package pins

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"hbmfs/cache"
	"hbmfs/cache/device"
	"hbmfs/fs/uapi"
	"hbmfs/transport"
	"hbmfs/transport/transporttest"
)

// source is a settled file of zeros that comes by a path.
type source struct {
	path  uapi.Path
	users atomic.Int32
}

func (s *source) Key() cache.FileKey { return cache.FileKey{Ino: 1} }
func (s *source) Size() int64        { return 1 << 20 }
func (s *source) Settled() bool      { return true }
func (s *source) Retain()            { s.users.Add(1) }
func (s *source) Release()           { s.users.Add(-1) }

func (s *source) Submit(reqs []*transport.Request) {
	for _, r := range reqs {
		transporttest.End(r, transport.Result{Path: s.path, Why: uapi.WhyNoDirect})
	}
}

func newCache(t *testing.T) *cache.Cache {
	t.Helper()
	provider, err := device.Open("memfd")
	if err != nil {
		t.Fatal(err)
	}
	c, err := cache.New(cache.Config{Devices: []cache.Device{{Provider: provider, Pool: 1 << 20}}, Extent: 1 << 16, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// TestPin: what can't be vouched for, or came by a fallback where a direct path is
// required, is refused with nothing pinned. What is pinned is undone by a change only.
func TestPin(t *testing.T) {
	broken := errors.New("a signal, say")
	for name, c := range map[string]struct {
		path     uapi.Path
		direct   bool
		confirms []error // of its calls
		away     bool
		err      error
		pinned   int
		want     uapi.Pin
	}{
		"settled":               {uapi.PathStaged, false, []error{nil, nil}, false, nil, 1, uapi.Pin{Path: uint32(uapi.PathStaged), Why: uint32(uapi.WhyNoDirect)}},
		"target away":           {uapi.PathStaged, false, []error{nil, nil}, true, nil, 1, uapi.Pin{Path: uint32(uapi.PathStaged), Why: uint32(uapi.WhyTargetAway), Flags: uapi.PinUnsettled}},
		"refused before":        {uapi.PathStaged, false, []error{broken}, false, broken, 0, uapi.Pin{}},
		"not confirmed after":   {uapi.PathStaged, false, []error{nil, broken}, false, nil, 1, uapi.Pin{Path: uint32(uapi.PathStaged), Why: uint32(uapi.WhyNoDirect)}},
		"changed":               {uapi.PathStaged, false, []error{nil, transport.ErrStale}, false, transport.ErrStale, 0, uapi.Pin{}},
		"not direct":            {uapi.PathStaged, true, []error{nil}, false, transport.ErrNotDirect, 0, uapi.Pin{}},
		"direct as is required": {uapi.PathRDMA, true, []error{nil, nil}, false, nil, 1, uapi.Pin{Path: uint32(uapi.PathRDMA), Why: uint32(uapi.WhyNoDirect)}},
	} {
		t.Run(name, func(t *testing.T) {
			f := File{Cache: newCache(t), Source: &source{path: c.path}, RequireDirect: c.direct}
			asked := 0
			f.Confirm = func(context.Context) (bool, error) {
				asked++
				return c.away, c.confirms[asked-1]
			}
			buf := make([]byte, uapi.PinSize)
			uapi.EncodePin(buf, &uapi.Pin{Size: uint32(uapi.PinSize), Length: 1 << 16})
			err := f.Ioctl(t.Context(), uapi.IocPin, buf, buf)
			if !errors.Is(err, c.err) || f.Cache.Pins().Extents != c.pinned || asked != len(c.confirms) {
				t.Fatalf("%v, %d pinned, %d times confirmed", err, f.Cache.Pins().Extents, asked)
			}
			got := uapi.DecodePinReply(buf)
			if err == nil && (got.Pinned != 1<<16 || got.Path != c.want.Path || got.Why != c.want.Why || got.Flags != c.want.Flags) {
				t.Errorf("%+v, want %+v", got, c.want)
			}
		})
	}
}
