package remote_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"hbmfs/fs/uapi"
	"hbmfs/remote"
	"hbmfs/transport"
	"hbmfs/transport/inproc"
	"hbmfs/transport/tcp"
	"hbmfs/transport/transporttest"
)

// lentRegion is memory for loans.
type lentRegion struct{ *region }

func (lentRegion) Close() error { return nil }

func (r lentRegion) Domain() transport.Domain { return borrower }

var borrower = transport.Domain{UID: 1, Device: 1}

func reserve(_ transport.Domain, size int64) (transport.LoanMemory, error) {
	return lentRegion{newRegion(int(size))}, nil
}

// borrow borrows a range of the version of file 1, and checks what was lent.
func borrow(ctx context.Context, f *remote.File, version uint64, off, n int64) (transport.Loan, error) {
	l, err := f.Borrow(ctx, borrower, off, n, 64)
	if err != nil {
		return nil, err
	}
	return l, checkLent(l, version, off)
}

func checkLent(l transport.Loan, version uint64, off int64) error {
	for _, s := range l.Segments() {
		if err := transporttest.Check(s.Mem.Bytes()[s.Off:s.Off+s.Len], tag(1, version), off); err != nil {
			return err
		}
		off += s.Len
	}
	return nil
}

// openLent opens file 1 of a new node by a transport with a fake lender on it.
func openLent(t *testing.T, change ...func(*remote.Config)) (*node, *remote.Target, *remote.File) {
	n := startNode(t, nil)
	n.write(name(1), 1, 1)
	cfg := n.config()
	cfg.Candidates = use(transporttest.FakeLender{Transport: tcp.New(false), Reserve: reserve})
	for _, c := range change {
		c(&cfg)
	}
	r := connect(t, cfg)
	return n, r, open(t, r, 1)
}

// TestBorrowOutlivesTheTarget: a loan stays as it is when the target is killed,
// and the next one comes by the next session.
func TestBorrowOutlivesTheTarget(t *testing.T) {
	n, r, f := openLent(t)
	var all []transport.Loan
	for i := range int64(3) {
		l, err := borrow(t.Context(), f, 1, 5+i, 64<<10)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, l)
		n.kill()
		n.start()
	}
	for i, l := range all {
		if err := checkLent(l, 1, 5+int64(i)); err != nil {
			t.Errorf("loan %d: %v", i, err)
		}
		l.Return()
	}
	if st := r.Stats(); st.Requests != 3 || st.Errors != 0 || st.Bytes[uapi.PathStaged] != 3*(64<<10) {
		t.Errorf("%+v", st)
	}
}

// TestBorrowWhileTheTargetIsAway: a loan is asked for again until it is there.
func TestBorrowWhileTheTargetIsAway(t *testing.T) {
	n, _, f := openLent(t)
	n.kill()
	lent := make(chan error, 1)
	go func() {
		l, err := borrow(t.Context(), f, 1, 0, 8192)
		if err == nil {
			l.Return()
		}
		lent <- err
	}()
	n.start()
	if err := <-lent; err != nil {
		t.Error(err)
	}
}

// TestBorrowStale: the loan of a file that changes stays, and there is no other.
func TestBorrowStale(t *testing.T) {
	n, _, f := openLent(t)
	l, err := borrow(t.Context(), f, 1, 0, 8192)
	if err != nil {
		t.Fatal(err)
	}
	w, err := os.OpenFile(n.path(name(1)), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	until(t, "the file is stale", f.Stale)
	if _, err := w.Write(content(1, 2)); err != nil {
		t.Fatal(err)
	}
	if _, err := borrow(t.Context(), f, 1, 0, 8192); !errors.Is(err, transport.ErrStale) {
		t.Errorf("of a file that changed: %v", err)
	}
	if err := checkLent(l, 1, 0); err != nil {
		t.Error(err)
	}
	l.Return()
}

func TestBorrowRefusesRanges(t *testing.T) {
	_, r, f := openLent(t)
	for _, c := range []struct {
		off, n int64
		limit  int
	}{{-1, 1, 1}, {0, 0, 1}, {0, -1, 1}, {0, 1, 0}, {fileSize, 1, 1}, {0, fileSize + 1, 1}, {1 << 62, 1 << 62, 1}} {
		if _, err := f.Borrow(t.Context(), borrower, c.off, c.n, c.limit); !errors.Is(err, transport.ErrRange) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	if st := r.Stats(); st.Requests != 0 {
		t.Errorf("asked for: %+v", st)
	}
}

// scripted is a fake: its links answer Borrow as the test says.
type scripted struct {
	transport.Transport
	answer func(context.Context) error // an error, always
	asked  *atomic.Int64
}

type scriptedLink struct {
	transport.Link
	scripted
}

func (s scripted) Dial(ctx context.Context, session transport.Session) (transport.Link, error) {
	l, err := s.Transport.Dial(ctx, session)
	return scriptedLink{l, s}, err
}

func (l scriptedLink) Borrow(ctx context.Context, _ transport.Domain, _ transport.FileRef, _, _ int64, _ int) (transport.Loan, error) {
	l.asked.Add(1)
	return nil, fmt.Errorf("fake: %w", l.answer(ctx))
}

func openScripted(t *testing.T, timeout time.Duration, answer func(context.Context) error) (*remote.Target, *remote.File, *atomic.Int64) {
	n := startNode(t, nil)
	n.write(name(1), 1, 1)
	asked := new(atomic.Int64)
	cfg := n.config()
	cfg.Timeout = timeout
	cfg.Candidates = use(scripted{inproc.New(n.target), answer, asked})
	r := connect(t, cfg)
	return r, open(t, r, 1), asked
}

// TestBorrowErrors: what a new connection or session cures is asked for again,
// the rest is told at once. What is to be had by a request is not an error yet.
func TestBorrowErrors(t *testing.T) {
	for _, c := range []struct {
		err          error
		again, stale bool
		counted      int64
	}{
		{transport.ErrNoLoan, false, false, 0},
		{transport.ErrLoanBudget, false, false, 1},
		{transport.ErrSource, false, false, 1},
		{transport.ErrChecksum, false, false, 1},
		{transport.ErrStale, false, true, 1},
		{transport.ErrConnLost, true, false, 1},
		{transport.ErrStalled, true, false, 1},
		{transport.ErrSession, true, false, 1},
		{transport.ErrUnknownFile, true, false, 1},
	} {
		var tries atomic.Int64
		r, f, asked := openScripted(t, patience, func(context.Context) error {
			if tries.Add(1) == 1 {
				return c.err
			}
			return transport.ErrSource // so that it ends
		})
		want := c.err
		if c.again {
			want = transport.ErrSource
		}
		_, err := f.Borrow(t.Context(), borrower, 0, 8, 1)
		if !errors.Is(err, want) || (asked.Load() == 2) != c.again || f.Stale() != c.stale {
			t.Errorf("%v: asked for %d times, then %v; stale: %t", c.err, asked.Load(), err, f.Stale())
		}
		if st := r.Stats(); st.Requests != c.counted || st.Errors != c.counted || (st.Retries == 1) != c.again {
			t.Errorf("%v: %+v", c.err, st)
		}
	}
}

// TestBorrowGivenUp: by the caller, by the link at the session's time-out, and by
// Close.
func TestBorrowGivenUp(t *testing.T) {
	asking := make(chan struct{}, 8)
	stalled := func(ctx context.Context) error {
		asking <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	}
	_, f, asked := openScripted(t, 500*time.Millisecond, func(context.Context) error {
		time.Sleep(200 * time.Millisecond)
		return transport.ErrStalled
	})
	if _, err := f.Borrow(t.Context(), borrower, 0, 8, 1); !errors.Is(err, transport.ErrConnLost) || asked.Load() < 2 {
		t.Errorf("at the time-out, asked %d times: %v", asked.Load(), err)
	}
	_, f, _ = openScripted(t, patience, stalled)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-asking; cancel() }()
	if _, err := f.Borrow(ctx, borrower, 0, 8, 1); !errors.Is(err, context.Canceled) || errors.Is(err, transport.ErrConnLost) {
		t.Errorf("by its caller: %v", err)
	}
	var r *remote.Target
	r, f, _ = openScripted(t, patience, func(context.Context) error { return transport.ErrClosed })
	go r.Close()
	if _, err := f.Borrow(t.Context(), borrower, 0, 8, 1); !errors.Is(err, transport.ErrClosed) {
		t.Errorf("of a target that is closed: %v", err)
	}
}

// TestNoLender: a link that can't lend says so, and nothing is counted.
func TestNoLender(t *testing.T) {
	_, r, f := openLent(t, func(cfg *remote.Config) { cfg.Candidates = use(tcp.New(false)) })
	if _, err := f.Borrow(t.Context(), borrower, 0, 8, 1); !errors.Is(err, transport.ErrNoLoan) {
		t.Error(err)
	}
	if st := r.Stats(); st.Requests != 0 || st.Errors != 0 {
		t.Errorf("%+v", st)
	}
}
