package storetest

import (
	"errors"
	"time"

	"hbmfs/remote/server/store"
	"hbmfs/transport"
)

// delegating returns the tree if it has names to delegate; else it skips the test where
// the store could do that, but this host can't.
func (f *fixture) delegating() store.Delegating {
	f.Helper()
	d, ok := f.tree.(store.Delegating)
	if !ok {
		return nil
	}
	if why := d.Undelegated(); why != "" {
		unsupported(f.T, why)
	}
	return d
}

// delegate has a name delegated once the store finds nothing against it any more, such
// as that the file is new.
func (f *fixture) delegate(d store.Delegating, path string, v transport.Version, h store.Holder) store.Delegation {
	f.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		held, err := d.Delegate(f.Context(), []byte(path), v, h)
		if err == nil {
			return held
		}
		if !errors.Is(err, store.ErrUndelegated) || time.Now().After(end) {
			f.Fatalf("delegate %q: %v", path, err)
		}
	}
}

// testDelegate has two holders of a name: whoever changes what it leads to waits for
// both.
func testDelegate(f *fixture) {
	d := f.delegating()
	if d == nil {
		return
	}
	changes := map[string]func(path string) error{
		"change": func(path string) error { return f.storage.Change(path, Content(1, 2, size)) },
		"remove": f.storage.Remove,
	}
	for name := range changes { // first: what makes a directory changes another
		f.put(name+"/f", 1, 1, size)
	}
	for name, change := range changes {
		path := name + "/f"
		v := f.open(path).Version()
		a, b, gone := newHolder(), newHolder(), newHolder()
		defer f.delegate(d, path, v, a).Close()
		defer f.delegate(d, path, v, b).Close()
		f.delegate(d, path, v, gone).Close()
		changed := make(chan struct{})
		go func() {
			defer close(changed)
			if err := change(path); err != nil {
				f.Error(err)
			}
		}()
		f.within(a.told, "telling the first holder")
		f.within(b.told, "telling the second holder")
		for _, h := range []*holder{a, b} {
			select {
			case <-changed:
				f.Error(name + " went on, and not all have let go")
			case <-time.After(100 * time.Millisecond):
			}
			close(h.free)
		}
		f.within(changed, "a change whom nobody holds")
		if len(gone.told) > 0 {
			f.Error("who has closed is told")
		}
	}
}

// testDelegateRefused: no name is delegated that does not lead to the version.
func testDelegateRefused(f *fixture) {
	d := f.delegating()
	if d == nil {
		return
	}
	f.put("f", 1, 1, size)
	old := f.open("f").Version()
	if err := f.storage.Change("f", Content(1, 2, size)); err != nil {
		f.Fatal(err)
	}
	f.put("dir/f", 2, 1, size)
	for path, v := range map[string]transport.Version{
		"f": old, "none": old, "dir": old, "": old, "../f": old, "f/": old,
	} {
		held, err := d.Delegate(f.Context(), []byte(path), v, newHolder())
		if err == nil {
			f.Errorf("%q is delegated", path)
			held.Close()
		}
	}
}
