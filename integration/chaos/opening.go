package main

import (
	"cmp"
	"fmt"
	"time"

	"hbmfs/fs/uapi"
)

// opening is an open file, or one that a call opens by its name.
type opening struct {
	number int
	opened window // what its name may have led to
	named  bool   // by the call: then nobody knows yet what opened.newest is
	of     uint64 // the version that answers were of; 0: none
}

// byName is a file that the next call opens.
func (t *thread) byName(number int) *opening {
	t.number = number
	return &opening{number: number, opened: window{oldest: t.nameMayBeOf()}, named: true}
}

// during is which versions an answer may be of that came while the file was
// written writes[0] to writes[1] times. What is replaced stays as it was opened.
func (o *opening) during(writes [2]uint64) window {
	newest := (writes[1] + 1) / 2
	switch {
	case replaced(o.number) && !o.named:
		return o.opened
	case replaced(o.number), mixed(o.number):
		return window{o.opened.oldest, newest}
	}
	return window{writes[0] / 2, newest}
}

// asked is a range that was asked for.
type asked struct {
	*opening
	off, n int64
	began  time.Duration
	writes uint64 // of the file until then
}

func (t *thread) ask(o *opening, off, n int64) asked {
	return asked{o, off, n, now(), t.board.files[o.number].writes.Load()}
}

// answer is what was said of a range, by whichever call.
type answer struct {
	got, size int64 // bytes: that came, and of the file
	more      bool  // the range goes on
	unsettled bool
	why       uapi.Reason
}

func (a answer) away() bool { return a.unsettled && a.why == uapi.WhyTargetAway }

// holes says that a writer may have cut the file off.
func (a answer) holes() bool { return a.unsettled && !a.away() }

// judge returns an error if an answer, whose bytes were of the versions v, passes something
// off as what it is not.
func (t *thread) judge(q asked, a answer, v versions) error {
	switch {
	case a.away():
		t.state.away.Add(1)
	case a.unsettled:
		t.state.unknown.Add(1)
	}
	writes := [2]uint64{q.writes, t.board.files[q.number].writes.Load()}
	gone := t.board.leasesGone(q.began)
	err := cmp.Or(q.during(writes).judge(v, a.unsettled || gone, a.holes()), q.cut(a))
	if err == nil && !a.holes() && !gone && !v.none() {
		err = q.isOf(v.lowest, a.size)
	}
	if err != nil {
		err = fmt.Errorf("%d bytes at %d, by name %v, unsettled %v, away %v: %w", q.n, q.off, q.named, a.unsettled, a.away(), err)
	}
	return err
}

// cut returns an error if a range that has come whole ends elsewhere than it, or its file.
func (q asked) cut(a answer) error {
	if whole := max(0, min(q.n, a.size-q.off)); !a.more && a.got != whole {
		return fmt.Errorf("%d bytes came, and not %d of a file of %d", a.got, whole, a.size)
	}
	return nil
}

// isOf returns an error if a version is not the one that the open file was of before, or
// has another size. Where leases are gone, or a writer may have the file open, versions
// may have come after each other.
func (o *opening) isOf(version uint64, size int64) error {
	if want := sizeOf(o.number, version); size != want {
		return fmt.Errorf("version %d has %d bytes, and not %d", version, want, size)
	}
	if o.of != 0 && o.of != version {
		return fmt.Errorf("version %d, and the open file was of %d", version, o.of)
	}
	o.of = version
	return nil
}
