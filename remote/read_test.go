package remote_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"hbmfs/remote"
	"hbmfs/transport"
	"hbmfs/transport/inproc"
	"hbmfs/transport/tcp"
)

// failing is a fake: a transport whose links end plain reads as ending says, or,
// where that is nil, with the bytes.
type failing struct {
	transport.Transport
	reads  *atomic.Int64
	ending func(nth int64) error
}

type failingLink struct {
	transport.Link
	failing
}

func (f failing) Dial(ctx context.Context, s transport.Session) (transport.Link, error) {
	l, err := f.Transport.Dial(ctx, s)
	return failingLink{l, f}, err
}

func (l failingLink) Read(ctx context.Context, file transport.FileRef, off int64, n int) (transport.Buffer, transport.Result) {
	if err := l.ending(l.reads.Add(1)); err != nil {
		return nil, transport.Result{Err: err}
	}
	return l.Link.Read(ctx, file, off, n)
}

// openFailing opens a file by such a link.
func openFailing(t *testing.T, timeout time.Duration, ending func(nth int64) error) (*node, *remote.Target, *remote.File, *atomic.Int64) {
	n := startNode(t, nil)
	n.write(name(1), 1, 1)
	var reads atomic.Int64
	cfg := n.config()
	cfg.Timeout = timeout
	cfg.Candidates = use(failing{inproc.New(n.target), &reads, ending})
	r := connect(t, cfg)
	return n, r, open(t, r, 1), &reads
}

// TestReadRetries has a link fail the first reads: those that were lost are
// issued again, in another session where the error asks for one.
func TestReadRetries(t *testing.T) {
	errTest := errors.New("fake: no good")
	for _, c := range []struct {
		fails           error
		want            error
		reads, sessions int64
	}{
		{nil, nil, 1, 1},
		{transport.ErrConnLost, nil, 3, 1},
		{transport.ErrStalled, nil, 3, 1},
		{transport.ErrSession, nil, 3, 3},
		{errTest, errTest, 1, 1},
		{transport.ErrChecksum, transport.ErrChecksum, 1, 1},
	} {
		_, r, f, reads := openFailing(t, patience, func(nth int64) error {
			if nth <= 2 && c.fails != nil {
				return fmt.Errorf("fake: %w", c.fails)
			}
			return nil
		})
		if err := read(t.Context(), f, 1, 1, 4096, 4096); !errors.Is(err, c.want) {
			t.Errorf("%v: %v", c.fails, err)
		}
		st := r.Stats()
		if reads.Load() != c.reads || st.Requests != 1 || st.Retries != c.reads-1 || (st.Errors == 1) != (c.want != nil) || st.Sessions != c.sessions {
			t.Errorf("%v: %d reads, %+v", c.fails, reads.Load(), st)
		}
	}
}

// TestReadStale reads a file whose version the target no longer has.
func TestReadStale(t *testing.T) {
	_, _, f, reads := openFailing(t, patience, func(int64) error { return transport.ErrStale })
	for range 2 {
		if err := read(t.Context(), f, 1, 1, 0, 4096); !errors.Is(err, transport.ErrStale) || !f.Stale() {
			t.Errorf("%v, stale: %t", err, f.Stale())
		}
	}
	if reads.Load() != 1 {
		t.Errorf("%d reads of a file known to be stale", reads.Load()-1)
	}
}

// TestReadDeadline has a target that is never reached.
func TestReadDeadline(t *testing.T) {
	const timeout = 100 * time.Millisecond
	_, _, f, _ := openFailing(t, timeout, func(int64) error { return transport.ErrConnLost })
	began := time.Now()
	if err := read(t.Context(), f, 1, 1, 0, 4096); !errors.Is(err, transport.ErrConnLost) {
		t.Error(err)
	}
	if took := time.Since(began); took < timeout/2 || took > 20*timeout {
		t.Errorf("given up after %v", took)
	}
	_, _, f, _ = openFailing(t, patience, func(int64) error { return transport.ErrConnLost })
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(timeout/2, cancel)
	if err := read(ctx, f, 1, 1, 0, 4096); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestStaleIsNotRead reads a file that has changed.
func TestStaleIsNotRead(t *testing.T) {
	n, _, f, reads := openFailing(t, patience, func(int64) error { return nil })
	w, err := os.OpenFile(n.path(name(1)), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	until(t, "the file is stale", f.Stale)
	if err := read(t.Context(), f, 1, 1, 0, 4096); !errors.Is(err, transport.ErrStale) {
		t.Error(err)
	}
	if reads.Load() != 0 {
		t.Error("a file known to be stale was asked for")
	}
}

// TestReadsOutliveTheTarget kills the target between reads over tcp.
func TestReadsOutliveTheTarget(t *testing.T) {
	n := startNode(t, nil)
	n.write(name(1), 1, 1)
	cfg := n.config()
	cfg.Candidates = use(tcp.New(false))
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

// TestReadAtTheEnd reads across the end of a file, and past it.
func TestReadAtTheEnd(t *testing.T) {
	_, _, f, _ := openFailing(t, patience, func(int64) error { return nil })
	for _, c := range []struct {
		off  int64
		want int
	}{{fileSize - 1, 1}, {fileSize, 0}, {fileSize + 1, 0}, {1<<63 - 1, 0}} {
		b, err := f.Read(t.Context(), c.off, 4096)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(b.Bytes(), content(1, 1)[fileSize-c.want:]) {
			t.Errorf("%d bytes at %d of %d", len(b.Bytes()), c.off, fileSize)
		}
		b.Release()
	}
	for _, n := range []int{-1, remote.MaxRead + 1} {
		if _, err := f.Read(t.Context(), 0, n); !errors.Is(err, transport.ErrRange) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}
