package remote_test

import (
	"crypto/sha256"
	"errors"
	"syscall"
	"testing"

	"hbmfs/remote"
	"hbmfs/remote/server/store/storetest"
	"hbmfs/transport"
	"hbmfs/transport/inproc"
)

// TestBucket mounts a store that has neither descriptors nor inodes, and is slow,
// over loopback and within the process: its bytes, its versions, and its revocations
// go all the way.
func TestBucket(t *testing.T) {
	for _, local := range []bool{false, true} {
		bucket := storetest.NewBucket()
		n := &node{t: t, addr: "127.0.0.1:0", store: bucket}
		n.start()
		t.Cleanup(n.kill)
		cfg := n.config()
		if local {
			cfg.DialControl = n.target.DialLocal
			cfg.Candidates = use(inproc.New(n.target))
		}
		if err := errors.Join(bucket.Put(name(1), content(1, 1)), bucket.Put("sub/\xff", content(2, 1))); err != nil {
			t.Fatal(err)
		}
		r := connect(t, cfg)
		f := open(t, r, 1)
		if ok, why := f.Settled(); !ok {
			t.Errorf("unsettled: %s", why)
		}
		checkReads(t, f)
		checkBucketNames(t, r)
		mem := newRegion(fileSize)
		if err := r.Attach(t.Context(), mem); err != nil {
			t.Fatal(err)
		}
		if err := fetch(f, mem, 0, 0, fileSize); err != nil || sha256.Sum256(mem.Mapped) != sha256.Sum256(content(1, 1)) {
			t.Errorf("fetched other bytes, or %v", err)
		}
		if err := bucket.Change(name(1), content(1, 2)); err != nil {
			t.Fatal(err)
		}
		if err := read(t.Context(), f, 1, 1, 0, 8); !errors.Is(err, transport.ErrStale) {
			t.Errorf("the old version after a change: %v", err)
		}
		if err := read(t.Context(), open(t, r, 1), 1, 2, 0, fileSize); err != nil {
			t.Error(err)
		}
		if err := bucket.Replace(); err != nil {
			t.Fatal(err)
		}
		until(t, "a mount of the next tree", func() bool {
			_, err := r.Stat(t.Context(), "d", name(1))
			return errors.Is(err, syscall.ENOENT)
		})
	}
}

func checkBucketNames(t *testing.T, r *remote.Target) {
	t.Helper()
	for dir, want := range map[string]int{"": 2, "sub": 1} {
		entries, _, err := r.List(t.Context(), "d", dir)
		if err != nil || len(entries) != want {
			t.Errorf("%q: %d entries, %v", dir, len(entries), err)
		}
	}
	for path, want := range map[string]error{"none": syscall.ENOENT, "sub": syscall.EISDIR, name(1) + "/x": syscall.ENOTDIR} {
		if _, err := r.Open(t.Context(), "d", path, nil); !errors.Is(err, want) {
			t.Errorf("open %q: %v, not %v", path, err, want)
		}
	}
}
