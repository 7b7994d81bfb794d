package transport_test

import (
	"errors"
	"math"
	"testing"

	"hbmfs/transport"
	"hbmfs/transport/transporttest"
)

func TestSpanCheck(t *testing.T) {
	mem := transporttest.NewMapped(100)
	for _, c := range []struct {
		span transport.Span
		ok   bool
	}{
		{transport.Span{Mem: mem, Off: 0, Len: 100}, true},
		{transport.Span{Mem: mem, Off: 100, Len: 0}, true},
		{transport.Span{Mem: mem, Off: 99, Len: 1}, true},
		{transport.Span{Mem: mem, Off: 99, Len: 2}, false},
		{transport.Span{Mem: mem, Off: 101, Len: 0}, false},
		{transport.Span{Mem: mem, Off: -1, Len: 1}, false},
		{transport.Span{Mem: mem, Off: 1, Len: -1}, false},
		{transport.Span{Mem: mem, Off: math.MaxInt64, Len: math.MaxInt64}, false},
		{transport.Span{Mem: mem, Off: 1, Len: math.MaxInt64}, false},
		{transport.Span{Mem: mem, Off: math.MaxInt64, Len: 1}, false},
		{transport.Span{}, false},
	} {
		if err := c.span.Check(); errors.Is(err, transport.ErrRange) == c.ok || c.ok && err != nil {
			t.Errorf("%d at %d of 100: %v", c.span.Len, c.span.Off, err)
		}
	}
}

func TestGatherCPU(t *testing.T) {
	file := transporttest.NewSource().Add(1, 1<<20)
	from := transporttest.NewMapped(4096)
	transporttest.Fill(*from, file, 0)
	dst := *transporttest.NewMapped(4096)
	spans := []transport.Span{{Mem: from, Off: 1024, Len: 100}, {Mem: from, Off: 0, Len: 0}, {Mem: from, Off: 1124, Len: 924}}
	if err := transport.GatherCPU(dst, 512, spans); err != nil {
		t.Error(err)
	}
	if err := transporttest.Check(dst[512:1536], file, 1024); err != nil {
		t.Error(err)
	}
	if !transporttest.Scribbled(dst[:512]) || !transporttest.Scribbled(dst[1536:]) {
		t.Error("written outside of the destination")
	}
}

func TestGatherCPURefuses(t *testing.T) {
	mem := transporttest.NewMapped(64)
	for _, c := range []struct {
		what string
		at   int64
		src  transport.Span
		want error
	}{
		{"memory that the CPU can't touch", 0, transport.Span{Mem: transporttest.NewFakeDevice(t, 64), Len: 8}, transport.ErrUnavailable},
		{"past the source", 0, transport.Span{Mem: mem, Off: 60, Len: 8}, transport.ErrRange},
		{"past the destination", 60, transport.Span{Mem: mem, Len: 8}, transport.ErrRange},
		{"before the destination", -1, transport.Span{Mem: mem, Len: 8}, transport.ErrRange},
		{"far past the destination", math.MaxInt64, transport.Span{Mem: mem, Len: 8}, transport.ErrRange},
	} {
		if err := transport.GatherCPU(*mem, c.at, []transport.Span{c.src}); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", c.what, err)
		}
	}
}
