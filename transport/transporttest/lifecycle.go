package transporttest

import (
	"errors"
	"testing"

	"hbmfs/transport"
)

// testCredits submits more than any link takes at once.
func testCredits(t *testing.T, h Harness) {
	f := setUp(t, h)
	file := f.source.Add(1, extent)
	hold := f.source.Hold(1)
	defer hold.Release()
	const most = 1 << 16
	reqs := make([]*transport.Request, most)
	flights := make([]*flight, most)
	for i := range reqs {
		flights[i] = f.host(file, int64(i%1024)*8, 8)
		reqs[i] = &flights[i].Request
	}
	n, err := f.link.Submit(reqs)
	if err != nil || n == 0 || n == most {
		t.Fatalf("%d requests: %d taken, %v", most, n, err)
	}
	if s := f.link.Stats(); s.InFlight != int64(n) {
		t.Errorf("%d requests taken, %d under way", n, s.InFlight)
	}
	if again, err := f.link.Submit(reqs[n:]); again != 0 || err != nil {
		t.Fatalf("without a credit: %d taken, %v", again, err)
	}
	hold.Release()
	for _, fl := range flights[:n] {
		f.good(fl, f.wait(fl))
	}
	rest := flights[n : n+n/2+1]
	f.submit(rest...)
	for _, fl := range rest {
		f.good(fl, f.wait(fl))
	}
	f.once(flights[:n+len(rest)]...)
	for _, fl := range flights[n+len(rest):] {
		if fl.done.Load() != 0 {
			t.Fatal("Done was called for a request that was not taken")
		}
	}
}

// testWalkAway has a caller who no longer waits: the completion comes all the same, and
// what it does with the memory after that stays.
func testWalkAway(t *testing.T, h Harness) {
	f := setUp(t, h)
	slow, other := f.source.Add(1, extent), f.source.Add(2, extent)
	hold := f.source.Hold(1)
	defer hold.Release()
	left := f.host(slow, 0, 64<<10)
	f.submit(left)
	await(t, hold)
	for range 50 {
		fl := f.host(other, 0, 64<<10)
		f.good(fl, f.fetch(fl))
	}
	if left.done.Load() != 0 || !Scribbled(left.bytes()) {
		t.Fatal("a request whose storage stalls has ended, or was written to")
	}
	hold.Release()
	f.good(left, f.wait(left))
	Scribble(left.bytes())
	for range 50 {
		fl := f.host(other, 0, 64<<10)
		f.good(fl, f.fetch(fl))
	}
	f.link.Close()
	if !Scribbled(left.bytes()) {
		t.Error("the destination was written to after Done")
	}
	f.once(left)
}

func testStats(t *testing.T, h Harness) {
	f := setUp(t, h)
	file := f.source.Add(1, extent)
	if s := f.link.Stats(); s.Connections < 1 || s.Requests != 0 || s.InFlight != 0 {
		t.Errorf("new link: %+v", s)
	}
	var want transport.LinkStats
	for _, n := range []int64{0, 100, extent} {
		f.fetch(f.host(file, 0, n))
		want.Requests++
		want.Bytes += n
	}
	f.fetch(f.host(file, extent, 100))
	want.Requests++
	want.Errors++
	got := f.link.Stats()
	want.Connections, want.Devmem, want.Registrations = got.Connections, got.Devmem, got.Registrations
	if got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// testCloseBusy closes a link while its requests wait for storage that stalls for
// ever: each completes before Close returns, and nothing is written after that.
func testCloseBusy(t *testing.T, h Harness) {
	f := setUp(t, h)
	file := f.source.Add(1, extent)
	hold := f.source.Hold(1)
	defer hold.Release()
	flights := make([]*flight, 8)
	for i := range flights {
		flights[i] = f.host(file, int64(i)*4096, 64<<10)
	}
	f.submit(flights...)
	await(t, hold)
	closed := make(chan error)
	go func() { closed <- f.link.Close() }()
	for probe := f.host(file, 0, 8); ; probe = f.host(file, 0, 8) {
		n, err := f.link.Submit([]*transport.Request{&probe.Request})
		if errors.Is(err, transport.ErrClosed) {
			break
		}
		if n == 1 {
			flights = append(flights, probe)
		}
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
	f.once(flights...)
	for _, fl := range flights {
		if r := <-fl.ended; r.Err == nil {
			f.good(fl, r)
		} else {
			f.failed(r, transport.ErrClosed)
		}
		Scribble(fl.bytes())
	}
	for _, fl := range flights {
		if !Scribbled(fl.bytes()) {
			t.Error("a destination was written to after Close")
		}
	}
}

func testUseAfterClose(t *testing.T, h Harness) {
	f := setUp(t, h)
	file := f.source.Add(1, extent)
	for range 2 {
		if err := f.link.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for _, fl := range []*flight{f.host(file, 0, 8), f.host(file, -1, 8), ask([]byte{1})} {
		if n, err := f.link.Submit([]*transport.Request{&fl.Request}); n != 0 || !errors.Is(err, transport.ErrClosed) {
			t.Errorf("Submit: %d, %v", n, err)
		}
	}
	if _, err := f.link.Attach(t.Context(), NewFakeDevice(t, 8)); !errors.Is(err, transport.ErrClosed) {
		t.Errorf("Attach: %v", err)
	}
	if s := f.link.Stats(); s.Connections != 0 || s.InFlight != 0 {
		t.Errorf("Stats: %+v", s)
	}
}

func testWrongSecret(t *testing.T, h Harness) {
	tr, s := h.Start(t, NewSource())
	s.Connections = 2
	for what, spoil := range map[string]func(*transport.Session){
		"unknown session": func(s *transport.Session) { s.ID[15] ^= 1 },
		"wrong secret":    func(s *transport.Session) { s.Secret[31] ^= 1 },
	} {
		bad := s
		spoil(&bad)
		if l, err := tr.Dial(t.Context(), bad); !errors.Is(err, transport.ErrSession) {
			t.Errorf("%s: %v", what, err)
			if err == nil {
				l.Close()
			}
		}
	}
}
