// Package storetest is the suite that every store passes, and a second store
// beside that of directories: small, slow, without descriptors.
package storetest

import (
	"context"
	"errors"
	"testing"
	"time"

	"hbmfs/remote/server/store"
	"hbmfs/remote/wire"
	"hbmfs/transport"
	"hbmfs/transport/transporttest"
)

// patience is how long a test waits for what must come; reaching it is a failure.
const patience = 20 * time.Second

// Storage is what a store serves, as its other users see it.
type Storage interface {
	// Put makes a file, and its directories.
	Put(path string, content []byte) error
	// Change puts a next version in the place of a file's. It waits for those who
	// hold that.
	Change(path string, content []byte) error
	// Remove takes a file's name away, for good.
	Remove(path string) error
	// Replace puts another tree, an empty one, in the place of the store's.
	Replace() error
}

// Stalling is a Storage that can be made to answer no read.
type Stalling interface {
	Stall() (heal func())
}

// Run runs the suite. create returns a store whose tree is empty.
func Run(t *testing.T, create func(t *testing.T) (store.Store, Storage)) {
	for _, c := range []struct {
		name string
		run  func(*fixture)
	}{
		{"Bytes", testBytes},
		{"Ranges", testRanges},
		{"Versions", testVersions},
		{"Cancel", testCancel},
		{"Stall", testStall},
		{"Spans", testSpans},
		{"Linked", testLinked},
		{"List", testList},
		{"Names", testNames},
		{"BadNames", testBadNames},
		{"Revoke", testRevoke},
		{"ClosedIsNotTold", testClosedIsNotTold},
		{"HeldTooLate", testHeldTooLate},
		{"Delegate", testDelegate},
		{"DelegateRefused", testDelegateRefused},
		{"Replace", testReplace},
		{"Closed", testClosed},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, storage := create(t)
			tree, err := s.Open()
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(tree.Close)
			c.run(&fixture{t, s, storage, tree})
		})
	}
}

// fixture is a store, and its first tree.
type fixture struct {
	*testing.T
	store   store.Store
	storage Storage
	tree    store.Tree
}

// Tag names a version of a file for [transporttest.Fill].
func Tag(number, version uint64) transport.FileRef {
	ref := transport.FileRef{Handle: number}
	ref.Version[8] = byte(version)
	return ref
}

// Content is what the version of a file holds: each word names both, and its
// offset.
func Content(number, version uint64, size int) []byte {
	b := make([]byte, size)
	transporttest.Fill(b, Tag(number, version), 0)
	return b
}

func (f *fixture) put(path string, number, version uint64, size int) {
	f.Helper()
	if err := f.storage.Put(path, Content(number, version, size)); err != nil {
		f.Fatal(err)
	}
}

func (f *fixture) stat(path string) *wire.Attr {
	f.Helper()
	attr, err := f.tree.Stat(f.Context(), []byte(path))
	if err != nil {
		f.Fatalf("stat %q: %v", path, err)
	}
	return attr
}

// open opens a file until the test ends.
func (f *fixture) open(path string) store.Object {
	f.Helper()
	o, attr, err := f.tree.Open(f.Context(), []byte(path))
	if err != nil {
		f.Fatalf("open %q: %v", path, err)
	}
	f.Cleanup(o.Close)
	if o.Version() != transport.Version(attr.Version) || uint64(o.Size()) != attr.Size {
		f.Errorf("%q: version %x and %d bytes, described as %x and %d", path, o.Version(), o.Size(), attr.Version, attr.Size)
	}
	return o
}

// holds fails the test unless n bytes from off are those of a version, in both ways
// of reading.
func (f *fixture) holds(o store.Object, number, version uint64, off int64, n int) {
	f.Helper()
	b := make([]byte, n)
	err := o.TryRead(off, b)
	if err == nil {
		err = transporttest.Check(b, Tag(number, version), off)
	} else if errors.Is(err, transport.ErrWouldBlock) {
		err = nil
	}
	if err != nil {
		f.Errorf("TryRead of %d bytes at %d: %v", n, off, err)
	}
	transporttest.Scribble(b)
	if err = o.Read(f.Context(), off, b); err == nil {
		err = transporttest.Check(b, Tag(number, version), off)
	}
	if err != nil {
		f.Errorf("Read of %d bytes at %d: %v", n, off, err)
	}
}

// holder lets writers go on when it is told to.
type holder struct {
	told chan struct{}
	free chan struct{}
}

func newHolder() *holder {
	return &holder{told: make(chan struct{}, 8), free: make(chan struct{})}
}

func (h *holder) Revoke() func() {
	h.told <- struct{}{}
	return func() { <-h.free }
}

// within fails the test if done is not closed in time.
func (f *fixture) within(done <-chan struct{}, what string) {
	f.Helper()
	select {
	case <-done:
	case <-time.After(patience):
		f.Fatal(what + " takes for ever")
	}
}

// follow follows the store until the test ends.
func (f *fixture) follow(changed func(store.Tree, error)) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		f.store.Follow(ctx, changed)
	}()
	f.Cleanup(func() {
		cancel()
		f.within(ended, "the end of Follow")
	})
}
