package inproc

import (
	"errors"
	"testing"

	"hbmfs/transport"
	"hbmfs/transport/transporttest"
)

// chain is a call that opens a file, and a read of it.
type chain struct {
	link  transport.Link
	mem   *transporttest.Mapped
	reqs  []*transport.Request
	ended chan error
}

func newChain(t *testing.T, source *transporttest.Source) *chain {
	t.Helper()
	sessions := transporttest.NewSessions()
	link, err := New(sessions).Dial(t.Context(), sessions.Open(source))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { link.Close() })
	c := &chain{link: link, mem: transporttest.NewMapped(4096), ended: make(chan error, 2)}
	if _, err := link.Attach(t.Context(), c.mem); err != nil {
		t.Fatal(err)
	}
	ask, file := transporttest.Opens(1, 4096)
	to := transporttest.Done(func(r transport.Result) { c.ended <- r.Err })
	c.reqs = []*transport.Request{
		{Call: &transport.Call{Ask: ask, Answer: make([]byte, 0, transport.MaxCall)}, To: to},
		{File: file, Dst: transport.Span{Mem: c.mem, Len: 4096}, Chained: true, To: to},
	}
	return c
}

func (c *chain) submit(t *testing.T) {
	t.Helper()
	if n, err := c.link.Submit(c.reqs); n != len(c.reqs) || err != nil {
		t.Fatalf("%d of %d taken: %v", n, len(c.reqs), err)
	}
}

// TestChain holds the call that opens a file: the read that is chained to it
// comes after it, and keeps no worker waiting.
func TestChain(t *testing.T) {
	source := transporttest.NewSource()
	other := source.Add(2, 4096)
	c := newChain(t, source)
	hold := source.HoldCalls()
	defer hold.Release()
	first := *c.reqs[1]
	for i := range int64(4096 / 128) {
		r := first
		r.Off, r.Dst.Off, r.Dst.Len = i*128, i*128, 128
		c.reqs = append(c.reqs[:i+1], &r)
	}
	c.ended = make(chan error, len(c.reqs))
	c.submit(t)
	<-hold.Reached()
	b, r := c.link.Read(t.Context(), other, 0, 4096)
	if r.Err != nil {
		t.Fatal(r.Err)
	}
	b.Release()
	if len(c.ended) != 0 {
		t.Error("a read did not wait for its call")
	}
	hold.Release()
	for range c.reqs {
		if err := <-c.ended; err != nil {
			t.Error(err)
		}
	}
	if got, want := string(c.reqs[0].Call.Answer), string(c.reqs[0].Call.Ask); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if err := transporttest.Check(*c.mem, c.reqs[1].File, 0); err != nil {
		t.Error(err)
	}
}

// TestChainFails has nobody open the file.
func TestChainFails(t *testing.T) {
	source := transporttest.NewSource()
	source.FailCalls(errors.New("fake"))
	c := newChain(t, source)
	c.submit(t)
	if err := <-c.ended; !errors.Is(err, transport.ErrSource) {
		t.Errorf("the call: %v", err)
	}
	if err := <-c.ended; !errors.Is(err, transport.ErrUnknownFile) {
		t.Errorf("the read: %v", err)
	}
}

// TestChainClosed closes the link between a call and its read.
func TestChainClosed(t *testing.T) {
	source := transporttest.NewSource()
	hold := source.HoldCalls()
	defer hold.Release()
	c := newChain(t, source)
	c.submit(t)
	<-hold.Reached()
	if err := c.link.Close(); err != nil {
		t.Error(err)
	}
	for range c.reqs {
		if err := <-c.ended; !errors.Is(err, transport.ErrClosed) {
			t.Error(err)
		}
	}
	if s := c.link.Stats(); s.InFlight != 0 || s.Requests != 2 || s.Errors != 2 {
		t.Errorf("%+v", s)
	}
}

// TestNoAllocation counts what a chain and a read of its own cost.
func TestNoAllocation(t *testing.T) {
	source := transporttest.NewSource()
	c := newChain(t, source)
	c.submit(t)
	<-c.ended
	<-c.ended
	c.reqs[0].Call.Ask = []byte{1} // opens nothing
	if n := testing.AllocsPerRun(1000, func() {
		if n, err := c.link.Submit(c.reqs); n != 2 || err != nil {
			t.Fatalf("%d taken, %v", n, err)
		}
		for range c.reqs {
			if err := <-c.ended; err != nil {
				t.Fatal(err)
			}
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
