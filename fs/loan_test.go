package fs

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"hbmfs/cache"
	"hbmfs/cache/device"
	"hbmfs/fs/uapi"
	"hbmfs/transport"
	"hbmfs/transport/transporttest"
)

// fakeLoan is a loan of whatever a test says.
type fakeLoan struct {
	spans    []transport.Span
	returned int
}

func (l *fakeLoan) Segments() []transport.Span { return l.spans }
func (l *fakeLoan) Return()                    { l.returned++ }
func (l *fakeLoan) Result() transport.Result {
	return transport.Result{Path: uapi.PathDevmemTCP, Why: uapi.WhyRequested}
}

var (
	alice = transport.Domain{UID: 1000}
	bob   = transport.Domain{UID: 1001}
)

// reserveFor makes a region of 64 KiB for a domain.
func reserveFor(t *testing.T, dom transport.Domain) *cache.Reserved {
	t.Helper()
	provider, err := device.Open("memfd")
	if err != nil {
		t.Fatal(err)
	}
	c, err := cache.New(cache.Config{Devices: []cache.Device{{Provider: provider, Pool: 1 << 20}}, Extent: 1 << 20, Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	r, err := c.Reserve(dom, 64<<10)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestLoanSegments(t *testing.T) {
	mem := reserveFor(t, alice)
	lent := &fakeLoan{spans: []transport.Span{{Mem: mem, Off: 8192, Len: 1448}, {Mem: mem, Off: 0, Len: 100}}}
	for _, c := range []struct{ end, next int64 }{{7 + 1548, 0}, {7 + 1549, 7 + 1548}} {
		l, err := newLoan(lent, alice, 7, c.end, 2)
		if err != nil {
			t.Fatal(err)
		}
		want := []cache.Segment{
			{Region: mem.ID(), RegionOff: 8192, FileOff: 7, Len: 1448, Path: uapi.PathDevmemTCP, Why: uapi.WhyRequested},
			{Region: mem.ID(), RegionOff: 0, FileOff: 7 + 1448, Len: 100, Path: uapi.PathDevmemTCP, Why: uapi.WhyRequested},
		}
		if !reflect.DeepEqual(l.Segments(), want) || l.Covered() != 1548 || l.Next() != c.next ||
			l.Path() != uapi.PathDevmemTCP || l.Why() != uapi.WhyRequested {
			t.Errorf("%+v, %d bytes, next %d", l.Segments(), l.Covered(), l.Next())
		}
	}
}

// TestLoanIsChecked: nobody is told of memory that is not reserved for him, or of
// bytes that he did not ask for.
func TestLoanIsChecked(t *testing.T) {
	ours, theirs := reserveFor(t, alice), reserveFor(t, bob)
	span := func(mem transport.Memory, off, n int64) transport.Span {
		return transport.Span{Mem: mem, Off: off, Len: n}
	}
	for what, spans := range map[string][]transport.Span{
		"nothing":              nil,
		"another user's":       {span(ours, 0, 8), span(theirs, 0, 8)},
		"not reserved":         {span(transporttest.NewMapped(64), 0, 8)},
		"no memory":            {span(nil, 0, 8)},
		"past its end":         {span(ours, ours.Size()-4, 8)},
		"before its beginning": {span(ours, -1, 8)},
		"an empty segment":     {span(ours, 0, 8), span(ours, 64, 0)},
		"a negative segment":   {span(ours, 0, 8), span(ours, 64, -1)},
		"too many bytes":       {span(ours, 0, 101)},
		"too many segments":    {span(ours, 0, 8), span(ours, 64, 8), span(ours, 128, 8)},
	} {
		if l, err := newLoan(&fakeLoan{spans: spans}, alice, 0, 100, 2); !errors.Is(err, transport.ErrProtocol) || l != nil {
			t.Errorf("%s: %+v, %v", what, l, err)
		}
	}
}

// TestLoanIsCounted once when it is granted, and once when it ends.
func TestLoanIsCounted(t *testing.T) {
	mem := reserveFor(t, alice)
	lent := &fakeLoan{spans: []transport.Span{{Mem: mem, Len: 100}}}
	l, err := newLoan(lent, alice, 0, 100, 1)
	if err != nil {
		t.Fatal(err)
	}
	var count counters
	l.grant(&count)
	if got, want := count.lending(), (LoanStats{Granted: 1, Bytes: 100, Held: 1, HeldBytes: 100}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	l.Release()
	if got, want := count.lending(), (LoanStats{Granted: 1, Bytes: 100}); got != want || lent.returned != 1 {
		t.Errorf("%+v, want %+v; returned %d times", got, want, lent.returned)
	}
}
