package remote_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"hbmfs/remote"
	"hbmfs/remote/server/store/storetest"
	"hbmfs/transport"
)

// mountBucket mounts a store that delegates names, with one file in it.
func mountBucket(t *testing.T) (*storetest.Bucket, *remote.Target) {
	t.Helper()
	bucket := storetest.NewBucket()
	n := &node{t: t, addr: "127.0.0.1:0", store: bucket}
	n.start()
	t.Cleanup(n.kill)
	if err := bucket.Put(name(1), content(1, 1)); err != nil {
		t.Fatal(err)
	}
	return bucket, connect(t, n.config())
}

// openAgain opens the version of file 1 that its name leads to, as a mount does, and
// closes it.
func openAgain(ctx context.Context, r *remote.Target) (transport.Version, error) {
	a, err := r.Stat(ctx, "d", name(1))
	if err != nil {
		return transport.Version{}, err
	}
	f, err := r.Open(ctx, "d", name(1), &a.Version)
	if err != nil {
		return transport.Version{}, err
	}
	f.Close()
	return a.Version, nil
}

// delegated opens file 1 until its name is delegated.
func delegated(t *testing.T, r *remote.Target) (v transport.Version) {
	t.Helper()
	until(t, "the name is delegated", func() (ok bool) {
		var err error
		if v, err = openAgain(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		return r.Stats().Delegated == 1
	})
	return v
}

// TestDelegatedAsksNothing: a file that is kept by a delegated name is opened without a
// message, until the name leads elsewhere: who changes that waits for it.
func TestDelegatedAsksNothing(t *testing.T) {
	bucket, r := mountBucket(t)
	for number, change := range []func() error{
		func() error { return bucket.Change(name(1), content(1, 2)) },
		func() error { return bucket.Remove(name(1)) },
	} {
		v := delegated(t, r)
		before := r.Stats()
		for range 20 {
			if again, err := openAgain(t.Context(), r); err != nil || again != v {
				t.Fatalf("opened %x, %v", again, err)
			}
		}
		after := r.Stats()
		if n := after.RoundTrips - before.RoundTrips; n > 0 || after.Unasked-before.Unasked != 20 {
			t.Errorf("%d messages for 20 opens, of which %d asked nothing", n, after.Unasked-before.Unasked)
		}
		if err := change(); err != nil {
			t.Fatal(err)
		}
		_, err := r.Open(t.Context(), "d", name(1), &v)
		if !errors.Is(err, transport.ErrStale) && !errors.Is(err, syscall.ENOENT) {
			t.Errorf("change %d: the old version is opened: %v", number, err)
		}
		if n := r.Stats().Delegated; n > 0 {
			t.Errorf("change %d: %d names are delegated", number, n)
		}
	}
}

// TestDelegatedEndsWithItsTerm: a mount that hears nothing of its target asks again, and
// does not count that as an open without a message.
func TestDelegatedEndsWithItsTerm(t *testing.T) {
	_, r := mountBucket(t)
	v := delegated(t, r)
	time.Sleep(600 * time.Millisecond)
	before := r.Stats()
	f, err := r.Open(t.Context(), "d", name(1), &v)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	after := r.Stats()
	if n := after.RoundTrips - before.RoundTrips; n == 0 {
		t.Error("it was opened without a term")
	}
	if n := after.Unasked - before.Unasked; n > 0 {
		t.Errorf("%d opens asked nothing", n)
	}
}

// TestDelegatedEndsWithItsSession: what the last session was told means nothing to the
// next.
func TestDelegatedEndsWithItsSession(t *testing.T) {
	bucket, r := mountBucket(t)
	v := delegated(t, r)
	if err := errors.Join(bucket.Replace(), bucket.Put(name(1), content(1, 2))); err != nil {
		t.Fatal(err)
	}
	until(t, "the next session", func() bool { return r.Stats().Sessions > 1 })
	if now, err := openAgain(t.Context(), r); err != nil || now == v {
		t.Errorf("opened %x after %x, %v", now, v, err)
	}
}

// TestDelegatedInUse: a name stays delegated while a program has the file open, and ends
// with the file.
func TestDelegatedInUse(t *testing.T) {
	_, r := mountBucket(t)
	v := delegated(t, r)
	f := reopen(t, r, 1, v)
	if n := r.Stats().Delegated; n != 1 {
		t.Errorf("%d names are delegated", n)
	}
	f.Discard()
	if n := r.Stats().Delegated; n != 0 {
		t.Errorf("%d names are delegated of no file", n)
	}
}

// TestDelegatedModel changes a file again and again while others open it: nobody opens
// a version after the next one was there.
func TestDelegatedModel(t *testing.T) {
	bucket, r := mountBucket(t)
	tree, err := bucket.Open()
	if err != nil {
		t.Fatal(err)
	}
	var latest atomic.Int64 // of those that are there for sure
	var numbers sync.Map    // of versions
	learn := func(number int64) {
		a, err := tree.Stat(t.Context(), []byte(name(1)))
		if err != nil {
			t.Error(err)
			return
		}
		numbers.Store(transport.Version(a.Version), number)
		latest.Store(number)
	}
	learn(1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for ctx.Err() == nil {
				least := latest.Load()
				v, err := openAgain(ctx, r)
				if n, known := numbers.Load(v); err == nil && known && n.(int64) < least {
					t.Errorf("opened version %d, and %d was there", n, least)
				}
			}
		})
	}
	for number := int64(2); number < 150; number++ {
		time.Sleep(time.Duration(number%7) * time.Millisecond)
		if number%2 == 0 { // which leaves the version as it is
			if err := bucket.Remove(name(1)); err != nil {
				t.Error(err)
			}
		}
		if err := bucket.Change(name(1), content(1, uint64(number))); err != nil {
			t.Error(err)
		}
		learn(number)
	}
	cancel()
	readers.Wait()
	if s := r.Stats(); s.Unasked == 0 {
		t.Error("each open asked")
	} else {
		t.Logf("%d of %d opens asked nothing", s.Unasked, s.Opens+s.Reopens)
	}
}
