package transporttest

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"hbmfs/transport"
)

// Two users of the same device.
var (
	lendAlice = transport.Domain{UID: 1000}
	lendBob   = transport.Domain{UID: 1001}
)

// anySegments is a limit that no loan of a test meets.
const anySegments = 1 << 20

// runLoans is the part of the suite for links that lend.
func runLoans(t *testing.T, h Harness) {
	for _, c := range []struct {
		name string
		run  func(*lending)
	}{
		{"Ranges", testLoanRanges},
		{"Limit", testLoanLimit},
		{"Budget", testLoanBudget},
		{"Domains", testLoanDomains},
		{"Errors", testLoanErrors},
		{"Abandoned", testLoanAbandoned},
		{"Concurrent", testLoanConcurrent},
		{"OutlivesLink", testLoanOutlivesLink},
		{"CloseBusy", testLoanCloseBusy},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(setUpLoans(t, h)) })
	}
}

// lending is a dialled link that lends.
type lending struct {
	*fixture
	lender transport.Lender
}

func setUpLoans(t *testing.T, h Harness) *lending {
	t.Helper()
	f := &fixture{t: t, source: NewSource()}
	f.transport, f.session = h.Lend(t, f.source)
	f.dial()
	lender, ok := f.link.(transport.Lender)
	if !ok {
		t.Fatal("the link is no Lender")
	}
	return &lending{f, lender}
}

// held is a loan and what it is of.
type held struct {
	transport.Loan
	dom  transport.Domain
	file transport.FileRef
	off  int64
}

func (f *lending) borrow(dom transport.Domain, file transport.FileRef, off, n int64, limit int) (held, error) {
	ctx, cancel := context.WithTimeout(f.t.Context(), patience)
	defer cancel()
	l, err := f.lender.Borrow(ctx, dom, file, off, n, limit)
	if err != nil {
		return held{}, err
	}
	h := held{l, dom, file, off}
	if err := h.check(); err != nil {
		return h, err
	}
	if got := len(l.Segments()); h.covered() < 1 || h.covered() > n || got > limit {
		return h, fmt.Errorf("%d bytes in %d segments, asked for %d in %d", h.covered(), got, n, limit)
	}
	return h, f.toldLoan(h)
}

// must borrows what is there to be lent.
func (f *lending) must(dom transport.Domain, file transport.FileRef, off, n int64, limit int) held {
	f.t.Helper()
	h, err := f.borrow(dom, file, off, n, limit)
	if err != nil {
		f.t.Fatalf("%d bytes at %d in %d segments: %v", n, off, limit, err)
	}
	return h
}

func (h held) covered() int64 {
	var n int64
	for _, s := range h.Segments() {
		n += s.Len
	}
	return n
}

// check returns an error unless each byte is the file's, in the domain's memory,
// and no two segments could be one.
func (h held) check() error {
	at := h.off
	var last transport.Span
	for i, s := range h.Segments() {
		if err := s.Check(); err != nil || s.Len == 0 {
			return fmt.Errorf("segment %d is of %d bytes at %d: %v", i, s.Len, s.Off, err)
		}
		if s.Mem.Domain() != h.dom {
			return fmt.Errorf("segment %d is in memory of %v, lent to %v", i, s.Mem.Domain(), h.dom)
		}
		if i > 0 && follows(last, s) {
			return fmt.Errorf("segments %d and %d are one", i-1, i)
		}
		if err := Check(s.Mem.Bytes()[s.Off:s.Off+s.Len], h.file, at); err != nil {
			return fmt.Errorf("segment %d: %w", i, err)
		}
		at, last = at+s.Len, s
	}
	return nil
}

// toldLoan checks what the loan says of its path.
func (f *lending) toldLoan(h held) error {
	r := h.Result()
	plan, err := f.transport.Plan(h.Segments()[0].Mem)
	if err != nil {
		return err
	}
	if r.Err != nil || r.Path != plan.Path {
		return fmt.Errorf("came by %v (%v), planned: %v", r.Path, r.Err, plan.Path)
	}
	if r.Path.Direct() && (r.HostCopies != 0 || r.DeviceCopies != 0) {
		return fmt.Errorf("%d and %d copies of what was never copied", r.HostCopies, r.DeviceCopies)
	}
	var crc uint32
	for _, s := range h.Segments() {
		crc = crc32.Update(crc, castagnoli, s.Mem.Bytes()[s.Off:s.Off+s.Len])
	}
	if r.HasCRC && r.CRC != crc {
		return fmt.Errorf("crc32c %#08x, of the bytes: %#08x", r.CRC, crc)
	}
	return nil
}

func testLoanRanges(f *lending) {
	const size = 3*extent + 13
	file := f.source.Add(1, size)
	for _, r := range [][2]int64{
		{0, 1}, {size - 1, 1}, {7, 11}, {0, 4095}, {0, 4096}, {1, 4097}, {4095, 8192}, {3, 64 << 10}, {extent - 1, 2}, {size - 70000, 70000},
	} {
		for off, end := r[0], r[0]+r[1]; off < end; {
			h := f.must(lendAlice, file, off, end-off, anySegments)
			off += h.covered()
			h.Return()
			h.Return()
		}
	}
}

// testLoanLimit goes through a range with room for few segments at a time.
func testLoanLimit(f *lending) {
	const size = 256 << 10
	file := f.source.Add(1, size)
	for _, limit := range []int{1, 2, 7} {
		for off := int64(0); off < size; {
			h := f.must(lendAlice, file, off, size-off, limit)
			off += h.covered()
			h.Return()
		}
	}
}

// testLoanBudget borrows all there is: what is lent stays as it is, also while
// requests go on, and can be lent again once it is back.
func testLoanBudget(f *lending) {
	file := f.source.Add(1, 64*extent)
	for range 3 {
		all := f.borrowAll(lendAlice, file)
		for range 8 {
			fl := f.host(file, 5, 64<<10)
			f.good(fl, f.fetch(fl))
		}
		for i, h := range all {
			if err := h.check(); err != nil {
				f.t.Fatalf("loan %d of %d: %v", i, len(all), err)
			}
		}
		all[0].Return()
		again := f.must(lendAlice, file, 8, 8, 1)
		for _, h := range append(all[1:], again) {
			if err := h.check(); err != nil {
				f.t.Fatal(err)
			}
			h.Return()
		}
	}
}

// borrowAll borrows until there is no more to be had.
func (f *lending) borrowAll(dom transport.Domain, file transport.FileRef) []held {
	f.t.Helper()
	const piece, most = 256 << 10, 1 << 14
	var all []held
	for i := range int64(most) {
		h, err := f.borrow(dom, file, i*piece%(32*extent), piece, anySegments)
		if errors.Is(err, transport.ErrLoanBudget) && len(all) > 0 {
			return all
		}
		if err != nil {
			f.t.Fatalf("loan %d: %v", i, err)
		}
		all = append(all, h)
	}
	f.t.Fatalf("%d loans, and no end", most)
	return nil
}

// testLoanDomains: no memory is two users', at any time.
func testLoanDomains(f *lending) {
	file := f.source.Add(1, 64*extent)
	alices := f.borrowAll(lendAlice, file)
	bobs, err := f.borrow(lendBob, file, 0, 4096, anySegments)
	if err != nil && !errors.Is(err, transport.ErrLoanBudget) {
		f.t.Fatal(err)
	}
	for _, h := range alices {
		if err := h.check(); err != nil {
			f.t.Fatal(err)
		}
		h.Return()
	}
	if bobs.Loan != nil {
		bobs.Return()
	}
	mems := make(map[transport.Memory]transport.Domain)
	for i := range 6 {
		dom := []transport.Domain{lendAlice, lendBob}[i%2]
		h := f.must(dom, file, 0, 4096, anySegments)
		for _, s := range h.Segments() {
			if was, known := mems[s.Mem]; known && was != dom {
				f.t.Fatalf("memory of %v was lent to %v", was, dom)
			}
			mems[s.Mem] = dom
		}
		h.Return()
	}
}

func testLoanErrors(f *lending) {
	const size = extent
	healthy, changed, broken := f.source.Add(1, size), f.source.Add(2, size), f.source.Add(3, size)
	f.source.Change(2)
	f.source.Fail(3, fmt.Errorf("fake disk: %w", transport.ErrSource))
	for _, c := range []struct {
		what   string
		file   transport.FileRef
		off, n int64
		want   error
	}{
		{"another version", changed, 0, 4096, transport.ErrStale},
		{"past the end", healthy, size, 8, transport.ErrRange},
		{"across the end", healthy, size - 1, 8, transport.ErrRange},
		{"before the beginning", healthy, -1, 8, transport.ErrRange},
		{"nothing", healthy, 0, 0, transport.ErrRange},
		{"bad disk", broken, 0, 64 << 10, transport.ErrSource},
		{"no such handle", transport.FileRef{Handle: 99}, 0, 8, transport.ErrUnknownFile},
	} {
		for range 100 { // nothing of it stays lent
			if h, err := f.borrow(lendAlice, c.file, c.off, c.n, anySegments); !errors.Is(err, c.want) {
				f.t.Fatalf("%s: %+v, %v", c.what, h, err)
			}
		}
	}
	if _, err := f.borrow(lendAlice, healthy, 0, 8, 0); !errors.Is(err, transport.ErrRange) {
		f.t.Errorf("in no segments: %v", err)
	}
	ended, cancel := context.WithCancel(f.t.Context())
	cancel()
	if _, err := f.lender.Borrow(ended, lendAlice, healthy, 0, 8, 1); !errors.Is(err, context.Canceled) {
		f.t.Errorf("with a context that has ended: %v", err)
	}
	f.must(lendAlice, healthy, 0, 4096, anySegments).Return()
}

// testLoanAbandoned has callers who leave while storage stalls. They are let go
// soon, and the bytes that come later are in nobody's way.
func testLoanAbandoned(f *lending) {
	slow, other := f.source.Add(1, extent), f.source.Add(2, 64*extent)
	hold := f.source.Hold(1)
	defer hold.Release()
	ctx, cancel := context.WithCancel(f.t.Context())
	left := make(chan error, 1)
	go func() {
		_, err := f.lender.Borrow(ctx, lendAlice, slow, 0, 4096, anySegments)
		left <- err
	}()
	await(f.t, hold)
	cancel()
	gone := time.Now()
	if err := <-left; !errors.Is(err, context.Canceled) {
		f.t.Fatal(err)
	}
	if late := time.Since(gone); late > time.Second {
		f.t.Errorf("let go after %v", late)
	}
	all := f.borrowAll(lendAlice, other)
	hold.Release()
	fl := f.host(slow, 0, 4096)
	f.good(fl, f.fetch(fl))
	for _, h := range all {
		if err := h.check(); err != nil {
			f.t.Fatal(err)
		}
		h.Return()
	}
}

// testLoanConcurrent has borrowers of both domains, and requests beside them.
func testLoanConcurrent(f *lending) {
	const size = 8 * extent
	file := f.source.Add(1, size)
	var wg sync.WaitGroup
	for reader := range 6 {
		rng := rand.New(rand.NewPCG(2, uint64(reader)))
		wg.Go(func() {
			for range 60 {
				if reader < 2 {
					fl := f.host(file, rng.Int64N(size/2), 1+rng.Int64N(64<<10))
					f.quietly(fl)
					continue
				}
				dom := []transport.Domain{lendAlice, lendBob}[reader%2]
				n := 1 + rng.Int64N(128<<10)
				h, err := f.borrow(dom, file, rng.Int64N(size-n), n, 1+rng.IntN(32))
				if errors.Is(err, transport.ErrLoanBudget) {
					continue
				}
				if err == nil {
					err = h.check()
				}
				if err != nil {
					f.t.Error(err)
					return
				}
				h.Return()
			}
		})
	}
	wg.Wait()
}

// testLoanOutlivesLink: what is lent stays as it is when the link is gone.
func testLoanOutlivesLink(f *lending) {
	file := f.source.Add(1, extent)
	h := f.must(lendAlice, file, 0, 64<<10, anySegments)
	if err := f.link.Close(); err != nil {
		f.t.Fatal(err)
	}
	if err := h.check(); err != nil {
		f.t.Error(err)
	}
	if _, err := f.borrow(lendAlice, file, 0, 8, 1); !errors.Is(err, transport.ErrClosed) {
		f.t.Errorf("of a closed link: %v", err)
	}
	f.link = nil
	f.dial() // another takes the queue, or has none to lend
	lender := &lending{f.fixture, f.link.(transport.Lender)}
	if other, err := lender.borrow(lendAlice, file, 0, 64<<10, anySegments); err == nil {
		defer other.Return()
	} else if !errors.Is(err, transport.ErrLoanBudget) {
		f.t.Error(err)
	}
	if err := h.check(); err != nil {
		f.t.Error(err)
	}
	h.Return()
}

// testLoanCloseBusy closes a link while borrowers wait for storage.
func testLoanCloseBusy(f *lending) {
	file := f.source.Add(1, extent)
	hold := f.source.Hold(1)
	defer hold.Release()
	ended := make(chan error, 1)
	go func() {
		h, err := f.borrow(lendAlice, file, 0, 64<<10, anySegments)
		if err == nil {
			h.Return()
		}
		ended <- err
	}()
	await(f.t, hold)
	closed := make(chan error)
	go func() { closed <- f.link.Close() }()
	hold.Release() // for a transport that can't give up a read under way
	if err := <-closed; err != nil {
		f.t.Error(err)
	}
	if err := <-ended; err != nil && !errors.Is(err, transport.ErrClosed) {
		f.t.Errorf("who waited: %v", err)
	}
}
