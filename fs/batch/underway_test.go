package batch

import (
	"context"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"hbmfs/fs/uapi"
	"hbmfs/transport/limits"
)

// getterFunc is a Getter.
type getterFunc func(ctx context.Context, e *uapi.BatchEntry, name []byte, room Room) (Got, error)

func (f getterFunc) Get(ctx context.Context, e *uapi.BatchEntry, name []byte, room Room) (Got, error) {
	return f(ctx, e, name, room)
}

// request is a BATCH of n ranges of a byte, and its input.
func request(t *testing.T, n int) (*uapi.BatchRequest, []byte) {
	t.Helper()
	in := make([]byte, uapi.BatchLen(n, n, 0))
	head := uapi.Batch{Size: uint32(uapi.BatchSize), EntryCount: uint32(n), SegmentRoom: uint32(n)}
	uapi.EncodeBatch(in, &head, func(int) (uapi.BatchEntry, string) { return uapi.BatchEntry{Length: 1}, "" })
	req, err := uapi.DecodeBatch(uapi.IocBatch(len(in)), in)
	if err != nil {
		t.Fatal(err)
	}
	return &req, in
}

// TestUnderWay: a batch has no more entries under way than may be of it, or than its turn
// has come for, and no goroutine for any other.
func TestUnderWay(t *testing.T) {
	const entries = 180
	for _, c := range []struct{ all, most int }{{1 << 20, maxUnderWay}, {6, 3}} { // one alone may have half
		synctest.Test(t, func(t *testing.T) {
			before := runtime.NumGoroutine()
			turn := Join(limits.New(limits.Config{What: "entries", All: int64(c.all)}), "x")
			defer turn.Leave()
			var underWay atomic.Int64
			next := make(chan struct{})
			g := getterFunc(func(context.Context, *uapi.BatchEntry, []byte, Room) (Got, error) {
				underWay.Add(1)
				<-next
				underWay.Add(-1)
				return Got{}, syscall.EIO
			})
			req, _ := request(t, entries)
			ended := make(chan error)
			go func() {
				run, err := Do(t.Context(), req, g, turn, extent, errnoOf)
				if err == nil && run.req.Failed != entries {
					t.Errorf("%d failed", run.req.Failed)
				}
				ended <- err
			}()
			for range 3 {
				synctest.Wait()
				if n, all := int(underWay.Load()), runtime.NumGoroutine()-before; n != c.most || all > c.most+1 {
					t.Errorf("%d are under way in %d goroutines, want %d", n, all, c.most)
				}
				next <- struct{}{}
			}
			close(next)
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
}

// TestShortOfDescriptors: what found no descriptor, as others of the batch had them, is
// fetched once they have none; where none comes to be free, that is tried once.
func TestShortOfDescriptors(t *testing.T) {
	for has, want := range map[int64]struct{ got, failed int64 }{3: {20 + 17, 0}, 0: {20 + 1, 20}} {
		synctest.Test(t, func(t *testing.T) {
			var open, got atomic.Int64
			fake := new(fakeGetter)
			g := getterFunc(func(ctx context.Context, e *uapi.BatchEntry, name []byte, room Room) (Got, error) {
				defer open.Add(-1)
				got.Add(1)
				if open.Add(1) > has {
					return Got{}, syscall.ENFILE
				}
				time.Sleep(time.Second)
				return fake.Get(ctx, e, name, room)
			})
			turn := Join(limits.New(limits.Config{What: "entries", All: 1 << 20}), "x")
			defer turn.Leave()
			req, _ := request(t, 20)
			told := 0
			run, err := Do(t.Context(), req, g, turn, extent, func(_ []byte, err error) syscall.Errno {
				told++
				return errnoOf(nil, err)
			})
			if err != nil || int64(run.req.Failed) != want.failed || got.Load() < want.got || int64(told) != want.failed {
				t.Errorf("%d descriptors: %v, %d failed, %d were told, %d tries", has, err, run.req.Failed, told, got.Load())
			}
			if has == 0 && got.Load() != want.got {
				t.Errorf("%d tries, want %d", got.Load(), want.got)
			}
			run.Release()
		})
	}
}

// TestHoldsNoInput: a batch that is held has nothing of its request, whose buffer may have
// a MiB.
func TestHoldsNoInput(t *testing.T) {
	freed := make(chan struct{})
	run := func() *Run {
		req, in := request(t, 10)
		runtime.AddCleanup(&in[0], func(freed chan struct{}) { close(freed) }, freed)
		turn := Join(limits.New(limits.Config{What: "entries", All: 16}), "x")
		defer turn.Leave()
		fake := new(fakeGetter)
		run, err := Do(t.Context(), req, getterFunc(func(ctx context.Context, e *uapi.BatchEntry, _ []byte, room Room) (Got, error) {
			return fake.Get(ctx, e, req.NameOf(e), room)
		}), turn, extent, func([]byte, error) syscall.Errno { return syscall.Errno(in[0]) })
		if err != nil {
			t.Fatal(err)
		}
		run.Encode(make([]byte, len(in)), 5)
		return run
	}()
	deadline := time.After(10 * time.Second)
	for {
		runtime.GC()
		select {
		case <-freed:
			run.Release()
			return
		case <-deadline:
			t.Fatal("the input is held")
		case <-time.After(time.Millisecond):
		}
	}
}

// TestRoomOfAttempts: an entry that is fetched again has no less room, and takes no more.
func TestRoomOfAttempts(t *testing.T) {
	r := room{extent: extent, left: 20}
	e := entryRoom{room: &r}
	for range 3 {
		if n := e.Limit(10 * extent); n != 13 || r.left != 8 {
			t.Errorf("room for %d, and %d are left", n, r.left)
		}
	}
	e.giveBack(1)
	if r.left != 20 {
		t.Errorf("%d are left in the end", r.left)
	}
}
