package landing

import (
	"errors"
	"reflect"
	"testing"

	"go.uber.org/goleak"

	"hbmfs/transport"
	"hbmfs/transport/transporttest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestBuffers(t *testing.T) {
	for _, n := range []int{0, 1, 64 << 10, 64<<10 + 1, 1 << 20, Largest} {
		b := GetBuffer(n)
		if len(b.B) < n || len(b.B) > max(2*n, 64<<10) || len(b.Raw) != Room+len(b.B)+Room {
			t.Errorf("asked for %d: %d with room, %d without", n, len(b.Raw), len(b.B))
		}
		if reflect.ValueOf(b.B).Pointer()%4096 != 0 {
			t.Errorf("asked for %d: not aligned to pages", n)
		}
		b.Release()
	}
}

func TestAttachTwice(t *testing.T) {
	var s Set
	dev := transporttest.NewFakeDevice(t, 8)
	a, err := s.Attach(dev, transport.Plan{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Attach(dev, transport.Plan{}); err == nil {
		t.Error("attached twice")
	}
	a.Close()
	if _, err := s.Attach(dev, transport.Plan{}); err != nil {
		t.Errorf("attached again: %v", err)
	}
	dev.Revoke()
	if err := s.Check(into(transport.Span{Mem: dev, Len: 8})); !errors.Is(err, transport.ErrRevoked) {
		t.Errorf("check of revoked memory: %v", err)
	}
	if _, err := s.Attach(transporttest.NewFakeDevice(t, 8), transport.Plan{}); err != nil {
		t.Error(err)
	}
}

func into(dst transport.Span) Request { return Request{Request: &transport.Request{Dst: dst}} }

// TestPadIsReused takes payloads to both kinds of memory, one after the other.
func TestPadIsReused(t *testing.T) {
	var p Pad
	done := make(chan error, 1)
	p.Init(func(err error) { done <- err })
	file := transporttest.NewSource().Add(1, 4096)
	dev, host := transporttest.NewFakeDevice(t, 4096), transporttest.NewMapped(4096)
	for range 3 {
		transporttest.Fill(p.Begin(into(transport.Span{Mem: dev, Off: 8, Len: 100})), file, 0)
		if !p.Staged() {
			t.Error("not staged")
		}
		p.Commit()
		if err := errors.Join(<-done, transporttest.Check(dev.Read(8, 100), file, 0)); err != nil {
			t.Fatal(err)
		}
		p.Begin(into(transport.Span{Mem: dev, Len: 100}))
		p.Abort()
		transporttest.Fill(p.Begin(into(transport.Span{Mem: host, Off: 8, Len: 100})), file, 0)
		if p.Staged() {
			t.Error("staged")
		}
		p.Commit()
		if err := errors.Join(<-done, transporttest.Check((*host)[8:108], file, 0)); err != nil {
			t.Fatal(err)
		}
		plain := make([]byte, 100)
		transporttest.Fill(p.Begin(Request{Request: &transport.Request{Dst: transport.Span{Len: 100}}, Host: plain}), file, 8)
		p.Commit()
		if err := errors.Join(<-done, transporttest.Check(plain, file, 8)); err != nil {
			t.Fatal(err)
		}
	}
}
