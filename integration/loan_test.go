package integration

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hbmfs/fs/client"
	"hbmfs/fs/uapi"
)

// lendOpts asks for a loan with room for all segments there can be.
var lendOpts = client.FetchOptions{Loan: true, MaxSegments: uapi.MaxSegments}

// TestLoan: the bytes of every kind of range, lent, and nothing of it cached.
func TestLoan(t *testing.T) {
	sizes := []int64{0, 1, 4095, extent + 1, 3*extent + 12345}
	src := t.TempDir()
	for i, size := range sizes {
		writeNumbered(t, src, i, size)
	}
	m := startLender(t, src)
	for i, size := range sizes {
		f := openFile(t, m.path(strconv.Itoa(i)))
		c := rangeCheck{t: t, size: size}
		for _, r := range c.ranges() {
			checkLoan(t, f, i, size, r[0], r[1])
		}
	}
	s := m.stats()
	if s.Loans.Granted == 0 || s.Loans.Held != 0 || s.Loans.HeldBytes != 0 || s.Loans.NotLent != 0 {
		t.Errorf("after every release: %+v", s.Loans)
	}
	if s.Cache.Misses != 0 || s.Cache.Resident.Extents != 0 || s.Cache.Reserved != 1 || s.Loans.Bytes != s.Target.Bytes[uapi.PathDevmemTCP] {
		t.Errorf("cache: %+v, target: %+v", s.Cache, s.Target)
	}
}

// checkLoan borrows a range and gives it back.
func checkLoan(t *testing.T, f *client.File, number int, size, off, n int64) {
	t.Helper()
	want := max(0, min(n, size-off))
	r := pin(t, f, off, n, lendOpts)
	if r.Fetched != want || r.Cursor != 0 || r.FileSize != size || r.Loan != (want > 0) || r.Unsettled {
		t.Fatalf("[%d, +%d): %+v, want %d bytes of %d", off, n, r.Lease, want, size)
	}
	if want == 0 {
		if r.Path != uapi.PathNone || r.Handle != 0 {
			t.Errorf("[%d, +%d): %+v", off, n, r.Lease)
		}
		return
	}
	checkTagged(t, r.data, number, 1, off)
	if r.Path != uapi.PathDevmemTCP {
		t.Errorf("[%d, +%d): path %v", off, n, r.Path)
	}
	for _, s := range r.Segments {
		if s.Hit || s.Path != r.Path {
			t.Errorf("segment %+v", s)
		}
	}
	if err := f.Release(r.Handle); err != nil {
		t.Errorf("release: %v", err)
	}
	if err := f.Release(r.Handle); !errors.Is(err, unix.ENOENT) {
		t.Errorf("release again: %v, want ENOENT", err)
	}
}

// TestLoanContinues: with little room, a range takes many loans. Each FETCH gives
// the one before back.
func TestLoanContinues(t *testing.T) {
	const size, off = 5*extent + 100, 7
	src := t.TempDir()
	writeNumbered(t, src, 1, size)
	m := startLender(t, src)
	f := openFile(t, m.path("1"))
	for _, room := range []int{1, 3, uapi.MaxSegments} {
		var before uint64
		var whole []byte
		for at := int64(off); at != 0; {
			r := pin(t, f, at, math.MaxInt64-at, client.FetchOptions{Loan: true, MaxSegments: room, Release: before})
			if !r.Loan || len(r.Segments) > room || r.Cursor != 0 && r.Cursor != at+r.Fetched {
				t.Fatalf("room for %d at %d: %+v", room, at, r.Lease)
			}
			if before != 0 {
				if err := f.Release(before); !errors.Is(err, unix.ENOENT) {
					t.Errorf("release what a FETCH released: %v, want ENOENT", err)
				}
			}
			whole = append(whole, r.data...)
			at, before = r.Cursor, r.Handle
		}
		if len(whole) != size-off {
			t.Errorf("%d bytes came of %d", len(whole), size-off)
		}
		checkTagged(t, whole, 1, 1, off)
		m.awaitLoans(1)
		if n, err := f.ReleaseAll(); n != 1 || err != nil {
			t.Errorf("release all: %d, %v", n, err)
		}
	}
	m.awaitLoans(0)
}

// TestLoansAndLeases of one open file are numbered together, and released alike.
func TestLoansAndLeases(t *testing.T) {
	src := t.TempDir()
	writeNumbered(t, src, 1, 4*extent)
	m := startLender(t, src)
	f := openFile(t, m.path("1"))
	lease := pin(t, f, 0, extent, client.FetchOptions{})
	loan := pin(t, f, 0, extent, lendOpts)
	again := pin(t, f, 0, extent, client.FetchOptions{})
	if lease.Handle == loan.Handle || loan.Handle == again.Handle || lease.Loan || !loan.Loan || again.Loan || !again.Segments[0].Hit {
		t.Errorf("%+v\n%+v\n%+v", lease.Lease, loan.Lease, again.Lease)
	}
	if lease.Segments[0].Region == loan.Segments[0].Region {
		t.Error("a loan is in the cache's region")
	}
	// A loan's handle goes with a lease's FETCH, and the other way round.
	more := pin(t, f, extent, extent, client.FetchOptions{Release: loan.Handle})
	m.awaitLoans(0)
	borrowed := pin(t, f, extent, extent, client.FetchOptions{Release: more.Handle, Loan: true})
	if s := m.stats(); s.Cache.Leases != 2 || s.Loans.Held != 1 {
		t.Errorf("%+v, %+v", s.Cache, s.Loans)
	}
	checkTagged(t, borrowed.data, 1, 1, extent)
	if n, err := f.ReleaseAll(); n != 3 || err != nil {
		t.Errorf("release all: %d, %v", n, err)
	}
	if s := m.stats(); s.Cache.Leases != 0 || s.Loans.Held != 0 {
		t.Errorf("%+v, %+v", s.Cache, s.Loans)
	}
}

func init() { children["borrow"] = borrowUntilKilled }

// borrow FILE holds two loans until it is killed.
func borrowUntilKilled(args []string) error {
	f, err := client.Open(args[0])
	if err != nil {
		return err
	}
	for i := range int64(2) {
		r, err := tryPin(f, i*extent, extent, lendOpts)
		if err != nil {
			return err
		}
		if !r.Loan {
			return fmt.Errorf("not lent: %+v", r.Lease)
		}
		if err := wrongWord(r.data, numberOf(args[0]), 1, i*extent); err != nil {
			return err
		}
		fmt.Println("region", r.Segments[0].Region)
	}
	fmt.Println("holding")
	select {}
}

// TestLoansEndWithTheirFile: by close, and by the death of the process.
func TestLoansEndWithTheirFile(t *testing.T) {
	src := t.TempDir()
	writeNumbered(t, src, 1, 4*extent)
	m := startLender(t, src)
	for range 3 {
		f, err := client.Open(m.path("1"))
		must(t, err)
		for i := range int64(3) {
			pin(t, f, i*extent, extent, lendOpts)
		}
		m.awaitLoans(3)
		must(t, f.Close())
		m.awaitLoans(0)

		p := start(t, child(t, "borrow", 0, m.path("1")))
		p.line("holding")
		m.awaitLoans(2)
		p.kill(unix.SIGKILL)
		m.awaitLoans(0)
	}
	checkLoan(t, openFile(t, m.path("1")), 1, 4*extent, 0, 4*extent)
}

// TestLoanBudget: over budget is ENOSPC at once, for who may wait too; what is lent stays as it is, and
// what is fetched goes on.
func TestLoanBudget(t *testing.T) {
	const size = lenderBudget + 2*extent
	src := t.TempDir()
	writeNumbered(t, src, 1, size)
	m := startLender(t, src)
	f := openFile(t, m.path("1"))
	var held []fetched
	at := int64(0)
	for at < lenderBudget {
		r := pin(t, f, at, extent, lendOpts)
		held = append(held, r)
		at += r.Fetched
	}
	opts := lendOpts
	for range 3 {
		opts.Wait += time.Minute
		if r, err := f.Fetch(context.Background(), at, extent, opts); !errors.Is(err, unix.ENOSPC) {
			t.Fatalf("over budget: %+v, %v", r, err)
		}
	}
	r := pin(t, f, at, extent, client.FetchOptions{})
	checkTagged(t, r.data, 1, 1, at)
	checkHeldAs(t, f, fetched{Lease: &client.Lease{Segments: allSegments(held)}}, 1)

	err := f.Release(held[0].Handle)
	must(t, err)
	r = pin(t, f, at, extent, lendOpts)
	checkTagged(t, r.data, 1, 1, at)
	for _, h := range append(held[1:], r) {
		checkHeldAs(t, f, h, 1)
	}
	if s := m.stats(); s.Loans.HeldBytes != lenderBudget || s.Errors["ENOSPC"] != 3 {
		t.Errorf("%+v, %v", s.Loans, s.Errors)
	}
}

func allSegments(held []fetched) (all []client.Segment) {
	for _, h := range held {
		all = append(all, h.Segments...)
	}
	return all
}

// TestLoanOfChangedFile: what is lent is private, and stays the old version; the
// next FETCH tells.
func TestLoanOfChangedFile(t *testing.T) {
	src := t.TempDir()
	writeNumbered(t, src, 1, 2*extent)
	m := startLender(t, src)
	f := openFile(t, m.path("1"))
	r := pin(t, f, 0, 2*extent, lendOpts)
	checkTagged(t, r.data, 1, 1, 0)
	writeTagged(t, src+"/1", 1, 2, 2*extent)
	for _, opts := range []client.FetchOptions{lendOpts, {}} {
		if _, err := f.Fetch(context.Background(), 0, extent, opts); !errors.Is(err, unix.ESTALE) {
			t.Errorf("loan %t: %v, want ESTALE", opts.Loan, err)
		}
	}
	checkHeldAs(t, f, r, 1)
	anew := openFile(t, m.path("1"))
	next := pin(t, anew, 0, 2*extent, lendOpts)
	checkTagged(t, next.data, 1, 2, 0)
	checkHeldAs(t, f, r, 1)
	if err := f.Release(r.Handle); err != nil {
		t.Error(err)
	}
	m.awaitLoans(1)
}

// TestLoanOfOpenWriter: what a writer may have open is lent, and said to be so;
// not by a strict mount.
func TestLoanOfOpenWriter(t *testing.T) {
	src := t.TempDir()
	writeNumbered(t, src, 1, extent)
	m, strict := startLender(t, src), startLender(t, src, "strict")
	w := mustOpen(t, src+"/1", os.O_WRONLY)
	defer w.Close()
	r := pin(t, openFile(t, m.path("1")), 0, extent, lendOpts)
	if !r.Loan || !r.Unsettled {
		t.Errorf("%+v", r.Lease)
	}
	checkTagged(t, r.data, 1, 1, 0)
	if _, err := openFile(t, strict.path("1")).Fetch(context.Background(), 0, extent, lendOpts); !errors.Is(err, unix.EAGAIN) {
		t.Errorf("from a strict mount: %v, want EAGAIN", err)
	}
	strict.awaitLoans(0)
}

// TestLoanIsDirect: where a direct path is required, what is lent has it, and
// what the fake does not lend has not.
func TestLoanIsDirect(t *testing.T) {
	src := t.TempDir()
	writeNumbered(t, src, 1, extent)
	m := startLender(t, src, "require-direct")
	f := openFile(t, m.path("1"))
	checkLoan(t, f, 1, extent, 0, extent)
	if _, err := f.Fetch(context.Background(), 0, extent, client.FetchOptions{}); !errors.Is(err, unix.EREMOTEIO) {
		t.Errorf("not lent: %v, want EREMOTEIO", err)
	}
}

// TestLoansBelongToUsers: a region that is lent is one user's, nobody else gets
// its descriptor, and its number ends when the queue is another user's.
func TestLoansBelongToUsers(t *testing.T) {
	src := t.TempDir()
	openPath(t, src)
	writeNumbered(t, src, 1, 4*extent)
	m := startLender(t, src)
	f := openFile(t, m.path("1"))
	ours := pin(t, f, 0, extent, lendOpts)
	region := ours.Segments[0].Region
	ctl := mustDialCtl(t, m.dir)
	fd, err := askRegion(ctl, region)
	must(t, err)
	must(t, unix.Close(fd))
	attempt(t, nobody, "loan ENOSPC "+m.path("1"), fmt.Sprintf("region EACCES %d %s", region, m.path("1")))
	checkHeldAs(t, f, ours, 1)
	err = f.Release(ours.Handle)
	must(t, err)

	p := start(t, child(t, "borrow", nobody, m.path("1")))
	var theirs uint32
	_, err = fmt.Sscanf(p.line("region"), "region %d", &theirs)
	must(t, err)
	p.line("holding")
	if theirs == region {
		t.Fatal("two users were lent the same region")
	}
	if _, err := askRegion(ctl, theirs); !errors.Is(err, unix.EACCES) {
		t.Errorf("root asks for another user's region: %v, want EACCES", err)
	}
	if _, err := askRegion(ctl, region); !errors.Is(err, unix.ENOENT) {
		t.Errorf("a region that was given back: %v, want ENOENT", err)
	}
	if _, err := f.Fetch(context.Background(), 0, extent, lendOpts); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("while the queue is another user's: %v, want ENOSPC", err)
	}
	p.kill(unix.SIGKILL)
	m.awaitLoans(0)
	checkLoan(t, f, 1, 4*extent, 0, 4*extent)
}

func init() {
	acts["loan"] = func(path string) error {
		f, err := client.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		r, err := tryPin(f, 0, extent, lendOpts)
		if err == nil && !r.Loan {
			err = errors.New("not lent")
		}
		return err
	}
	acts["region"] = func(idAndFile string) error {
		var id uint32
		var file string
		if _, err := fmt.Sscan(idAndFile, &id, &file); err != nil {
			return err
		}
		c, err := dialCtl(filepath.Dir(file))
		if err != nil {
			return err
		}
		defer c.Close()
		return second(askRegion(c, id))
	}
}

// TestLoanOutlivesTheDaemon: what a program has mapped stays as it is when the
// daemon is killed, and when it ends in order.
func TestLoanOutlivesTheDaemon(t *testing.T) {
	src := t.TempDir()
	writeNumbered(t, src, 1, extent)
	for _, sig := range []unix.Signal{unix.SIGKILL, unix.SIGTERM} {
		m := startLender(t, src)
		f := openFile(t, m.path("1"))
		r := pin(t, f, 0, extent, lendOpts)
		m.kill(sig)
		checkHeldAs(t, f, r, 1)
		if err := f.Release(r.Handle); !errors.Is(err, unix.ENOTCONN) && !errors.Is(err, unix.ECONNABORTED) {
			t.Errorf("release after %v: %v", sig, err)
		}
		if sig == unix.SIGTERM && m.err != nil {
			t.Errorf("ended with a loan held: %v", m.err)
		}
	}
}

// TestInterruptedLoan: who waits for a loan can leave, by a signal and by death.
func TestInterruptedLoan(t *testing.T) {
	src := t.TempDir()
	writeNumbered(t, src, 1, extent)
	m := startLender(t, src, "stall")
	f := openFile(t, m.path("1"))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := f.Fetch(ctx, 0, extent, lendOpts)
		ended <- err
	}()
	m.line("asked")
	cancel()
	within(t, time.Second, "a loan that is broken off", func() {
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("%v, want the context's error", err)
		}
	})
	p := start(t, child(t, "borrow", 0, m.path("1")))
	m.line("asked")
	within(t, time.Second, "the death of who waits", func() { p.kill(unix.SIGKILL) })
	if s := m.stats(); s.Loans.Granted != 0 || s.Cache.Leases != 0 {
		t.Errorf("%+v", s.Loans)
	}
}

// TestBadLoan: the flag with what is wrong, and with what only looks it.
func TestBadLoan(t *testing.T) {
	const size = extent + 5
	src := t.TempDir()
	writeNumbered(t, src, 1, size)
	m := startLender(t, src)
	f := mustOpen(t, m.path("1"), os.O_RDONLY)
	defer f.Close()
	for _, c := range badFetches(size) {
		head, _, err := uapi.DecodeFetch(uapi.IocFetch(4), c.arg)
		if err != nil && !errors.Is(err, uapi.ErrFlags) {
			continue // the flag makes no difference
		}
		flags := head.Flags | uapi.FetchLoan
		if err != nil {
			head = uapi.Fetch{Size: uint32(uapi.FetchSize), Length: extent}
			flags = uapi.FetchLoan | uapi.FetchUnsettled
		}
		head.Flags = flags
		arg := anyFetchArg(head, 4)
		if got := ioctlBytes(f, c.cmd, arg); c.want == 0 && got != nil || c.want != 0 && got != c.want {
			t.Errorf("%s and a loan: %v, want %v", c.name, got, c.want)
		}
		if c.want == 0 {
			if r, _, err := uapi.DecodeFetchReply(arg); err != nil || r.Flags != 0 || r.Handle != 0 || r.FileSize != size {
				t.Errorf("%s and a loan: %+v, %v", c.name, r, err)
			}
		}
	}
	if s := m.stats(); s.Loans.Granted != 0 || s.Cache.Leases != 0 {
		t.Errorf("after bad calls only: %+v", s.Loans)
	}
}

// TestLoanWhereNothingIsLent: the flag is a wish. Where no transport lends, the
// fetch is an ordinary one, and says so.
func TestLoanWhereNothingIsLent(t *testing.T) {
	const size = 3*extent + 5
	src := t.TempDir()
	writeNumbered(t, src, 1, size)
	for via, source := range sources(t, src) {
		m := startMount(t, source, small(8)...)
		f := openFile(t, m.path("1"))
		for i := range 2 {
			r := pin(t, f, 0, size, lendOpts)
			if r.Loan || r.Path != how[via].path || r.Why != how[via].why || r.Segments[0].Hit != (i > 0) {
				t.Errorf("%s: %+v", via, r.Lease)
			}
			checkTagged(t, r.data, 1, 1, 0)
		}
		if s := m.stats(); s.Loans.Granted != 0 || s.Loans.NotLent != 2 || !strings.Contains(s.Loans.NotLentWhy, "does not lend") || s.Cache.Leases != 2 {
			t.Errorf("%s: %+v", via, s.Loans)
		}
		all, code := readJSON(t, "--loan", "--verify", m.path("1"))
		if code != 0 || len(all) != 1 || *all[0].Bytes != size || all[0].Lent == nil || *all[0].Lent != 0 {
			t.Errorf("%s: read --loan: exit code %d, %+v", via, code, all)
		}
	}
}

// TestReadLoan: read --loan, with the bytes compared, of a file larger than what
// is lent at once.
func TestReadLoan(t *testing.T) {
	const size = 3*lenderBudget + 77
	src := t.TempDir()
	writeNumbered(t, src, 1, size)
	m := startLender(t, src)
	all, code := readJSON(t, "--loan", "--verify", m.path("1"))
	if code != 0 || len(all) != 1 {
		t.Fatalf("exit code %d, %+v", code, all)
	}
	if r := all[0]; *r.Bytes != size || r.Lent == nil || *r.Lent != size || *r.Mismatches != 0 || r.Path != "devmem-tcp" {
		t.Errorf("%+v", r)
	}
	m.awaitLoans(0)
}
