package remote_test

import (
	"context"
	"errors"
	"os"
	"sync/atomic"
	"testing"

	"hbmfs/remote"
	"hbmfs/transport"
	"hbmfs/transport/inproc"
	"hbmfs/transport/tcp"
)

// exchanging is a fake: a transport whose links answer exchanges, with the bytes
// of a request or as ending says.
type exchanging struct {
	transport.Transport
	exchanges *atomic.Int64
	ending    func() (transport.Result, bool) // nil: with the bytes
}

type exchangingLink struct {
	transport.Link
	exchanging
}

func (e exchanging) Dial(ctx context.Context, s transport.Session) (transport.Link, error) {
	l, err := e.Transport.Dial(ctx, s)
	return exchangingLink{l, e}, err
}

func (l exchangingLink) Exchange(_ context.Context, file transport.FileRef, off int64, dst []byte) (transport.Result, bool) {
	l.exchanges.Add(1)
	if l.ending != nil {
		return l.ending()
	}
	ended := make(chan transport.Result, 1)
	r := &transport.Request{File: file, Off: off, Dst: transport.Span{Mem: transport.HostMemory(dst), Len: int64(len(dst))}}
	r.Done = func(res transport.Result) { ended <- res }
	if _, err := l.Submit([]*transport.Request{r}); err != nil {
		return transport.Result{}, false
	}
	return <-ended, true
}

func openExchanging(t *testing.T, ending func() (transport.Result, bool)) (*node, *remote.Target, *remote.File, *atomic.Int64) {
	n := startNode(t, nil)
	n.write(name(1), 1, 1)
	var exchanges atomic.Int64
	cfg := n.config()
	cfg.Select = use(exchanging{inproc.New(n.target), &exchanges, ending})
	r := connect(t, cfg)
	return n, r, open(t, r, 1), &exchanges
}

func TestReadByExchange(t *testing.T) {
	errTest := errors.New("fake: given up")
	for what, c := range map[string]struct {
		ending func() (transport.Result, bool)
		want   error
	}{
		"answered": {nil, nil},
		"given up": {func() (transport.Result, bool) { return transport.Result{Err: errTest}, true }, errTest},
		"declined": {func() (transport.Result, bool) { return transport.Result{}, false }, nil},
	} {
		_, r, f, exchanges := openExchanging(t, c.ending)
		for i := range int64(3) {
			if err := read(t.Context(), f, 1, 1, 4096*i, 4096); !errors.Is(err, c.want) {
				t.Errorf("%s: %v", what, err)
			}
		}
		st := r.Stats()
		if exchanges.Load() != 3 || st.Requests != 3 || (st.Errors == 3) != (c.want != nil) {
			t.Errorf("%s: %d exchanges, %+v", what, exchanges.Load(), st)
		}
	}
}

// TestStaleIsNotExchanged reads a file that has changed.
func TestStaleIsNotExchanged(t *testing.T) {
	n, _, f, exchanges := openExchanging(t, nil)
	w, err := os.OpenFile(n.path(name(1)), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	until(t, "the file is stale", f.Stale)
	if err := read(t.Context(), f, 1, 1, 0, 4096); !errors.Is(err, transport.ErrStale) {
		t.Error(err)
	}
	if exchanges.Load() != 0 {
		t.Error("a file known to be stale was asked for")
	}
}

// TestExchangesOutliveTheTarget kills the target between reads over tcp: each
// comes by an exchange or, where that fails, by a request.
func TestExchangesOutliveTheTarget(t *testing.T) {
	n := startNode(t, nil)
	n.write(name(1), 1, 1)
	cfg := n.config()
	cfg.Select = use(tcp.New(false))
	f := open(t, connect(t, cfg), 1)
	for range 3 {
		for i := range int64(64) {
			if err := read(t.Context(), f, 1, 1, 4096*(i%16), 4096); err != nil {
				t.Fatal(err)
			}
		}
		n.kill()
		n.start()
	}
}
