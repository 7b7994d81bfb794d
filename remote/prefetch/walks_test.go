package prefetch

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"hbmfs/remote/namespace"
	"hbmfs/remote/wire"
	"hbmfs/transport"
)

func subdirs(names ...string) []namespace.Entry {
	var entries []namespace.Entry
	for _, name := range names {
		entries = append(entries, namespace.Entry{Name: name, Attr: namespace.Attr{Mode: syscall.S_IFDIR}})
	}
	return entries
}

// begins reports which directories a run at path would name; nil is no run.
func (w *walks) begins(path string) []string {
	_, r, _ := w.lookUp(nil, dir{"d", path})
	if r == nil {
		return nil
	}
	w.endRun(r)
	return append([]string{path}, r.roots...)
}

// TestRunFitsIntoAMessage: what a run names is bounded in bytes, however deep.
func TestRunFitsIntoAMessage(t *testing.T) {
	w := newWalks()
	defer w.close()
	deep := dir{"d", strings.Repeat("d/", 30<<10) + "d"}
	names := make([]string, maxFurther)
	for i := range names {
		names[i] = fmt.Sprint(i)
	}
	w.noteSubdirs(deep, subdirs(names...))
	w.budget = maxBudget
	size := 0
	for _, path := range w.begins(deep.child("0")) {
		size += len(path)
	}
	if size == 0 || size > maxFurtherBytes+len(deep.path)+4 {
		t.Errorf("%d bytes", size)
	}
}

func TestWalkIsSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWalks()
		defer w.close()
		if got := w.begins(""); got != nil {
			t.Errorf("at the root: %q", got)
		}
		if got := w.begins("a"); got != nil {
			t.Errorf("nothing was listed: %q", got)
		}
		w.noteSubdirs(dir{"d", ""}, subdirs("a", "b", "c"))
		if got := w.begins("b/x"); got != nil {
			t.Errorf("its parent was not listed: %q", got)
		}
		if _, r, _ := w.lookUp(nil, dir{"other", "a"}); r != nil {
			t.Error("another dataset's was")
		}
		if got := w.begins("a"); !slices.Equal(got, []string{"a", "b", "c"}) {
			t.Errorf("at a: %q", got)
		}
		w.noteSubdirs(dir{"d", "a"}, subdirs("x", "y"))
		for range 5 { // for as long as the walk goes on
			time.Sleep(walkPause / 2)
			if got := w.begins("a/x"); !slices.Equal(got, []string{"a/x", "a/y", "b", "c"}) {
				t.Errorf("at a/x: %q", got)
			}
		}
		time.Sleep(walkPause + 1)
		if got := w.begins("b"); got != nil {
			t.Errorf("after a while: %q", got)
		}
	})
}

func newRun(t *testing.T, w *walks) *run {
	t.Helper()
	w.noteSubdirs(dir{"d", ""}, subdirs("a", "b", "c"))
	_, r, _ := w.lookUp(nil, dir{"d", "a"})
	if r == nil {
		t.Fatal("no run")
	}
	return r
}

func TestWalkAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWalks()
		defer w.close()
		r := newRun(t, w)
		for _, path := range []string{"b", "c", "a", "elsewhere"} { // only b and c may come
			w.keep(r, path, &listing{came: time.Now()})
		}
		w.endRun(r)
		if len(w.kept) != 2 {
			t.Errorf("kept %v", w.kept)
		}
		time.Sleep(MaxAge - 1)
		if l, _, _ := w.lookUp(nil, dir{"d", "b"}); l == nil {
			t.Error("b is young enough")
		}
		time.Sleep(time.Nanosecond)
		if l, _, _ := w.lookUp(nil, dir{"d", "c"}); l != nil {
			t.Error("c is too old")
		}
	})
}

func (w *walks) sizes() (entries, names int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.entries, w.names
}

// TestWalkMemory leaves all that came: it is forgotten, and bounded before.
func TestWalkMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWalks()
		defer w.close()
		r := newRun(t, w)
		for i := range maxKept {
			w.keep(r, fmt.Sprint("b/", i), &listing{came: time.Now(), entries: make([]namespace.Entry, 3)})
		}
		w.endRun(r)
		if n, _ := w.sizes(); n > maxKept || n < maxKept-4 {
			t.Errorf("kept %d entries", n)
		}
		names := make([]string, maxNames/4)
		for i := range 10 {
			w.noteSubdirs(dir{"d", fmt.Sprint(i)}, subdirs(names...))
		}
		if _, n := w.sizes(); n > maxNames {
			t.Errorf("%d names", n)
		}
		time.Sleep(2*walkPause + 1)
		synctest.Wait()
		if entries, names := w.sizes(); entries+names != 0 {
			t.Errorf("%d entries and %d names are left", entries, names)
		}
	})
}

// TestWalkWaits asks for what is on its way.
func TestWalkWaits(t *testing.T) {
	w := newWalks()
	defer w.close()
	r := newRun(t, w)
	_, other, more := w.lookUp(nil, dir{"d", "b"})
	if other != nil || more == nil {
		t.Fatal("b is on its way")
	}
	w.keep(r, "b", &listing{came: time.Now()})
	<-more
	if l, _, _ := w.lookUp(nil, dir{"d", "b"}); l == nil {
		t.Error("b is here")
	}
	_, _, more = w.lookUp(nil, dir{"d", "c"})
	w.endRun(r)
	<-more
	if _, other, _ := w.lookUp(nil, dir{"d", "c"}); other == nil {
		t.Error("c did not come")
	}
}

// fakeStream streams a page.
type fakeStream struct {
	page []*wire.Listing
}

func (s *fakeStream) Recv() (*wire.ListPage, error) {
	if s.page == nil {
		return nil, io.EOF
	}
	page := &wire.ListPage{Listings: s.page}
	s.page = nil
	return page, nil
}

// TestBadListings is what no target sends.
func TestBadListings(t *testing.T) {
	entry := &wire.Entry{Name: []byte("e"), Attr: &wire.Attr{Version: make([]byte, 16)}}
	part := func(path string, last bool, entries ...*wire.Entry) *wire.Listing {
		return &wire.Listing{Path: []byte(path), Last: last, Entries: entries}
	}
	for name, page := range map[string][]*wire.Listing{
		"nothing":      nil,
		"half":         {part("w", false, entry)},
		"another":      {part("x", true, entry)},
		"mixed":        {part("w", false, entry), part("x", true, entry)},
		"no attribute": {part("w", true, &wire.Entry{Name: []byte("e")})},
	} {
		in := &reader{stream: &fakeStream{page: page}, progress: func() {}}
		if _, err := in.wanted(dir{"d", "w"}); !errors.Is(err, transport.ErrProtocol) {
			t.Errorf("%s: %v", name, err)
		}
	}
	in := &reader{stream: &fakeStream{page: []*wire.Listing{part("w", false, entry), part("w", true, entry)}}, progress: func() {}}
	if _, _, err := in.directory(1); !errors.Is(err, transport.ErrProtocol) {
		t.Errorf("more than there is room for: %v", err)
	}
}
