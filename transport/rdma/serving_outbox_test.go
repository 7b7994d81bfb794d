package rdma

import (
	"errors"
	"testing"

	"hbmfs/transport/rdma/internal/verbs"
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

func testOutbox(room int) (*outbox, *fakeQueue, *share) {
	o, q := new(outbox), new(fakeQueue)
	o.init(q, arenaOf(make([]byte, stagingBuffers*pieceSize)), make([]byte, tickets*slotSize), room, func(error) {})
	return o, q, &share{session: new(holding)}
}

// replyOf queues an answer with payload for a slot.
func replyOf(t *testing.T, o *outbox, s *share, slot int) {
	t.Helper()
	if !o.begin(slot) {
		t.Fatalf("slot %d is in use", slot)
	}
	p := parcel{n: 100}
	p.put(hold(t, o.arena, s, 1)[0])
	tag := newTag(slot, 7)
	o.reply(answer{record: record{tag: tag}, imm: uint32(tag), last: p})
}

func TestRepliesShareAPost(t *testing.T) {
	o, q, s := testOutbox(serverSends)
	for slot := range 3 {
		replyOf(t, o, s, slot)
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
	o, q, s := testOutbox(3)
	for slot := range 3 {
		replyOf(t, o, s, slot)
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
	if len(q.posts) != 3 || o.arena.inUse() != 1 {
		t.Errorf("posted %d times, %d buffers in use", len(q.posts), o.arena.inUse())
	}
}

func TestStagingIsGivenBack(t *testing.T) {
	o, q, s := testOutbox(serverSends)
	replyOf(t, o, s, 0)
	o.flush()
	replyOf(t, o, s, 1)
	o.close()
	if n := o.arena.inUse(); n != 2 {
		t.Errorf("%d buffers in use before the queue pair is gone", n)
	}
	o.drop()
	replyOf(t, o, s, 2)
	o.flush()
	if n := o.arena.inUse(); n != 0 || len(q.posts) != 1 {
		t.Errorf("%d buffers in use, posted %d times", n, len(q.posts))
	}
}

func TestFailedPostEndsAll(t *testing.T) {
	o, q, s := testOutbox(serverSends)
	failed := 0
	o.fail = func(error) { failed++ }
	q.err = errors.New("fake queue: broken")
	replyOf(t, o, s, 0)
	o.flush()
	replyOf(t, o, s, 1)
	o.flush()
	if failed != 1 || len(q.posts) != 1 {
		t.Errorf("failed %d times, posted %d times", failed, len(q.posts))
	}
}

// TestProbe asks an idle client for a sign, and only an idle one.
func TestProbe(t *testing.T) {
	o, q, s := testOutbox(serverSends)
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
	replyOf(t, o, s, 0)
	o.probe()
	o.flush()
	if len(q.posts) != 2 || len(q.posts[1]) != 2 {
		t.Errorf("posts: %+v", q.posts)
	}
}
