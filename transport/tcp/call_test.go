package tcp

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"

	"hbmfs/transport"
	"hbmfs/transport/internal/frame"
	"hbmfs/transport/transporttest"
)

// newCall makes a call's request, and what tells how it ended.
func newCall(ask []byte) (*transport.Request, <-chan transport.Result) {
	ended := make(chan transport.Result, 2)
	return &transport.Request{
		Call: &transport.Call{Ask: ask, Answer: make([]byte, 0, transport.MaxCall)},
		To:   transporttest.Done(func(res transport.Result) { ended <- res }),
	}, ended
}

// TestBadAnswers has a peer lie about the answer to a call, or send another one.
func TestBadAnswers(t *testing.T) {
	for _, c := range []struct {
		what   string
		reply  frame.Reply
		answer int // bytes
		want   error
	}{
		{"as sent", frame.Reply{Answer: true, Checksum: true, Length: 4, CRC: 0x48674bc7}, 4, nil},
		{"none", frame.Reply{Answer: true, Checksum: true}, 0, nil},
		{"other bytes", frame.Reply{Answer: true, Checksum: true, Length: 4}, 4, transport.ErrChecksum},
		{"too much", frame.Reply{Answer: true, Checksum: true, Length: transport.MaxCall + 1}, transport.MaxCall + 1, transport.ErrProtocol},
		{"no checksum", frame.Reply{Answer: true, Length: 4}, 4, transport.ErrProtocol},
		{"a file's bytes", frame.Reply{Checksum: true, Length: 4, CRC: 0x48674bc7}, 4, transport.ErrProtocol},
		{"less than announced", frame.Reply{Answer: true, Checksum: true, Length: 4}, 3, transport.ErrConnLost},
	} {
		s := fakePeer(t, func(conn net.Conn) {
			in := make([]byte, frame.RequestSize+1)
			io.ReadFull(conn, in)
			r, _ := frame.ParseRequest(in)
			out := make([]byte, frame.ReplySize+c.answer)
			c.reply.ID = r.ID
			c.reply.Put(out)
			conn.Write(out)
			if c.answer == int(c.reply.Length) {
				io.Copy(io.Discard, conn)
			}
		})
		s.Checksums = true
		r, ended := newCall([]byte{1})
		if n, err := dial(t, s).Submit([]*transport.Request{r}); n != 1 {
			t.Fatal(err)
		}
		res := <-ended
		answer := r.Call.Answer
		if !errors.Is(res.Err, c.want) || c.want == nil && len(answer) != c.answer || c.want != nil && len(answer) != 0 {
			t.Errorf("%s: answer of %d bytes, %v", c.what, len(answer), res.Err)
		}
	}
}

// TestAnswerToRead has a peer answer a read as a call.
func TestAnswerToRead(t *testing.T) {
	s := fakePeer(t, func(c net.Conn) {
		in, out := make([]byte, frame.RequestSize), make([]byte, frame.ReplySize+8)
		io.ReadFull(c, in)
		r, _ := frame.ParseRequest(in)
		frame.Reply{ID: r.ID, Length: 8, Answer: true}.Put(out)
		c.Write(out)
		io.Copy(io.Discard, c)
	})
	if _, res := fetch(t, dial(t, s), transport.FileRef{}, 0, 8); !errors.Is(res.Err, transport.ErrProtocol) {
		t.Error(res.Err)
	}
}

// heldCalls never answers.
type heldCalls struct {
	*transporttest.Source
	began chan struct{}
}

func (s heldCalls) Call(ctx context.Context, _, _ []byte) (int, error) {
	s.began <- struct{}{}
	<-ctx.Done()
	return 0, ctx.Err()
}

// TestDeathUnderCalls has a target die while calls are under way: each ends once, and
// so does what is chained to them.
func TestDeathUnderCalls(t *testing.T) {
	source := heldCalls{transporttest.NewSource(), make(chan struct{}, depth)}
	g := startTarget(t, source)
	g.session.Connections = 1
	l := dial(t, g.session)
	mem := transporttest.NewMapped(8)
	attach(t, l, mem)
	ended := make(chan error, depth)
	var reqs []*transport.Request
	for range 6 {
		r, _ := newCall([]byte{1})
		reqs = append(reqs, r, &transport.Request{Dst: transport.Span{Mem: mem, Len: 8}, Chained: true})
	}
	for _, r := range reqs {
		r.To = transporttest.Done(func(res transport.Result) { ended <- res.Err })
	}
	if n, err := l.Submit(reqs); n != len(reqs) || err != nil {
		t.Fatalf("took %d: %v", n, err)
	}
	<-source.began
	g.server.Close()
	for range reqs {
		if err := <-ended; !errors.Is(err, transport.ErrConnLost) {
			t.Error(err)
		}
	}
	l.Close()
	if len(ended) > 0 {
		t.Error("a request ended twice")
	}
}
