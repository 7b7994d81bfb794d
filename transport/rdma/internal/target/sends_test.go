package target

import (
	"context"
	"errors"
	"testing"

	"hbmfs/transport/rdma/internal/hca"
	"hbmfs/transport/rdma/internal/verbs"
	"hbmfs/transport/rdma/internal/wire"
)

// fakeQueue is a send queue that notes what is posted.
type fakeQueue struct {
	posts [][]verbs.Work
	err   error
}

func (f *fakeQueue) Post(w []verbs.Work) error {
	f.posts = append(f.posts, append([]verbs.Work(nil), w...))
	return f.err
}

// testSends has a queue pair with room, and an arena of its own.
func testSends(room int) (*sends, *fakeQueue) {
	o, q := new(sends), new(fakeQueue)
	ctx, fail := context.WithCancelCause(context.Background())
	o.init(ctx, fail, q, make([]byte, tickets*wire.SlotSize), room)
	o.staging = testArena(stagingBuffers).join("client")
	return o, q
}

func (o *sends) stagingInUse() int64 { return o.staging.arena.limit.Used() }

// replyOf queues an answer with payload for a slot.
func replyOf(t *testing.T, o *sends, slot int) {
	t.Helper()
	if !o.begin(slot) {
		t.Fatalf("slot %d is in use", slot)
	}
	p := parcel{n: 100}
	if !p.put(o.staging.tryTake()) {
		t.Fatal("no staging")
	}
	tag := wire.NewTag(slot, 7)
	o.reply(answer{record: wire.Record{Tag: tag}, imm: uint32(tag), last: p})
}

func TestRepliesShareAPost(t *testing.T) {
	o, q := testSends(sendDepth)
	for slot := range 3 {
		replyOf(t, o, slot)
	}
	o.flush()
	if len(q.posts) != 1 || len(q.posts[0]) != 6 {
		t.Fatalf("%d posts", len(q.posts))
	}
	for i, w := range q.posts[0] {
		if imm := i%2 == 1; imm != (w.Op == verbs.WorkWriteImm) || imm != w.Signaled {
			t.Errorf("work %d: %+v", i, w)
		}
	}
}

// TestSendQueueNeverOverflows has room for three sends, and answers of two.
func TestSendQueueNeverOverflows(t *testing.T) {
	o, q := testSends(3)
	for slot := range 3 {
		replyOf(t, o, slot)
	}
	o.flush()
	if len(q.posts) != 1 || len(q.posts[0]) != 3 {
		t.Fatalf("posted %d times", len(q.posts))
	}
	if !o.begin(0) || o.begin(1) {
		t.Error("slots are free when their record is posted, not earlier or later")
	}
	o.completed(q.posts[0][1].ID)
	o.flush()
	if len(q.posts) != 2 || len(q.posts[1]) != 2 {
		t.Fatalf("posted %d times", len(q.posts))
	}
	o.completed(q.posts[1][0].ID)
	o.flush()
	if len(q.posts) != 3 || o.stagingInUse() != 1 {
		t.Errorf("posted %d times, %d buffers in use", len(q.posts), o.stagingInUse())
	}
}

func TestStagingIsGivenBack(t *testing.T) {
	o, q := testSends(sendDepth)
	replyOf(t, o, 0)
	o.flush()
	replyOf(t, o, 1)
	o.fail(hca.ErrPeerLeft)
	o.close()
	if n := o.stagingInUse(); n != 2 {
		t.Errorf("%d buffers in use before the queue pair is gone", n)
	}
	o.drop()
	replyOf(t, o, 2)
	o.flush()
	if n := o.stagingInUse(); n != 0 || len(q.posts) != 1 {
		t.Errorf("%d buffers in use, posted %d times", n, len(q.posts))
	}
}

func TestFailedPostEndsAll(t *testing.T) {
	o, q := testSends(sendDepth)
	q.err = errors.New("fake queue: broken")
	replyOf(t, o, 0)
	o.flush()
	replyOf(t, o, 1)
	o.flush()
	if err := context.Cause(o.ctx); !errors.Is(err, q.err) || len(q.posts) != 1 {
		t.Errorf("ended with %v, posted %d times", err, len(q.posts))
	}
}

// TestProbe asks an idle client for a sign, and only an idle one.
func TestProbe(t *testing.T) {
	o, q := testSends(sendDepth)
	o.probe()
	o.probe()
	o.flush()
	if len(q.posts) != 1 || len(q.posts[0]) != 1 {
		t.Fatalf("posts: %+v", q.posts)
	}
	w := q.posts[0][0]
	if w.Op != verbs.WorkWrite || w.Len != 0 || !w.Signaled {
		t.Errorf("posted %+v", w)
	}
	o.completed(w.ID)
	replyOf(t, o, 0)
	o.probe()
	o.flush()
	if len(q.posts) != 2 || len(q.posts[1]) != 2 {
		t.Errorf("posts: %+v", q.posts)
	}
}

// nullQueue completes whatever is posted, at the next look.
type nullQueue struct{ posted []uint64 }

func (q *nullQueue) Post(w []verbs.Work) error {
	for i := range w {
		if w[i].Signaled {
			q.posted = append(q.posted, w[i].ID)
		}
	}
	return nil
}

func TestRepliesAllocateNothing(t *testing.T) {
	o, _ := testSends(sendDepth)
	q := &nullQueue{posted: make([]uint64, 0, 2)}
	o.qp = q
	if n := testing.AllocsPerRun(100, func() {
		replyOf(t, o, 0)
		replyOf(t, o, 1)
		o.flush()
		for _, id := range q.posted {
			o.completed(id)
		}
		q.posted = q.posted[:0]
	}); n != 0 {
		t.Errorf("%v allocations for two replies", n)
	}
}
