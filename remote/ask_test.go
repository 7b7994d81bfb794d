package remote_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"hbmfs/remote"
	"hbmfs/remote/wire"
	"hbmfs/transport"
)

// TestLongNames has asks and answers that are too large for the link.
func TestLongNames(t *testing.T) {
	n, r := mount(t, 0)
	dir := strings.TrimSuffix(strings.Repeat(strings.Repeat("d", 250)+"/", 5), "/")
	if err := os.MkdirAll(n.path(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	n.write(dir+"/f", 1, 1)
	link := strings.Repeat("l", 2000)
	if err := os.Symlink(link, n.path("link")); err != nil {
		t.Fatal(err)
	}
	if attr, err := r.Stat(t.Context(), "d", "link"); err != nil || attr.Symlink != link {
		t.Errorf("a link of %d bytes: %v", len(attr.Symlink), err)
	}
	if attr, err := r.Stat(t.Context(), "d", dir+"/f"); err != nil || attr.Size != fileSize {
		t.Errorf("stat: %+v, %v", attr, err)
	}
	f, err := r.Open(t.Context(), "d", dir+"/f", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := read(t.Context(), f, 1, 1, 0, fileSize); err != nil {
		t.Error(err)
	}
	n.kill()
	n.start()
	if err := read(t.Context(), f, 1, 1, 0, fileSize); err != nil {
		t.Errorf("after a restart: %v", err)
	}
}

// TestOpenGivenUp leaves an open whose answer does not come. It does come late, and
// what it opened is closed.
func TestOpenGivenUp(t *testing.T) {
	for name, leave := range map[string]func(context.Context) (context.Context, context.CancelFunc){
		"cancelled": func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, 50*time.Millisecond)
		},
		"timed out": context.WithCancel,
	} {
		t.Run(name, func(t *testing.T) {
			asked, answer := make(chan uint64, 1), make(chan struct{})
			c := &fakeControl{closed: make(chan uint64, 1), open: func(_ *fakeSession, req *wire.OpenRequest) *wire.Answer {
				asked <- req.Handle
				<-answer
				return opened()
			}}
			r := c.connect(t, remote.Config{Timeout: 500 * time.Millisecond})
			ctx, cancel := leave(t.Context())
			defer cancel()
			_, err := r.Open(ctx, "d", "file", nil)
			if ctx.Err() != nil && !errors.Is(err, context.DeadlineExceeded) ||
				ctx.Err() == nil && (!errors.Is(err, transport.ErrConnLost) || !strings.Contains(err.Error(), r.Stats().Addr)) {
				t.Errorf("given up with %v", err)
			}
			close(answer)
			if handle, closed := <-asked, <-c.closed; handle == 0 || closed != handle {
				t.Errorf("opened %d, and closed %d", handle, closed)
			}
		})
	}
}

// TestLostAnswer loses what the target says to the first attempts: the file has the
// same handle in the next, which is told from them.
func TestLostAnswer(t *testing.T) {
	const lost = 3
	var seen []*wire.OpenRequest
	c := &fakeControl{
		open: func(_ *fakeSession, req *wire.OpenRequest) *wire.Answer {
			seen = append(seen, req)
			return opened()
		},
		lose: func(ask *wire.Ask) bool { return ask.GetOpen() != nil && len(seen) <= lost },
	}
	r := c.connect(t, remote.Config{Timeout: patience})
	mustRead(t, openAll(t, r, "file")[0])
	if len(seen) != lost+1 {
		t.Fatalf("%d attempts", len(seen))
	}
	for i, req := range seen {
		if req.Handle != seen[0].Handle || req.Attempt != uint64(i+1) {
			t.Errorf("attempt %d: %v", i, req)
		}
	}
}

// TestLongOpenGivenUp is of an open that goes by a message of its own: no close may
// overtake it.
func TestLongOpenGivenUp(t *testing.T) {
	asked, answer := make(chan uint64, 1), make(chan struct{})
	c := &fakeControl{closed: make(chan uint64, 1), open: func(_ *fakeSession, req *wire.OpenRequest) *wire.Answer {
		asked <- req.Handle
		<-answer
		return opened()
	}}
	r := c.connect(t, remote.Config{Timeout: patience})
	ctx, cancel := context.WithTimeout(t.Context(), nudge)
	defer cancel()
	if _, err := r.Open(ctx, "d", strings.Repeat("p", transport.MaxCall), nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("given up with %v", err)
	}
	select {
	case handle := <-c.closed:
		t.Errorf("closed %d before it is open", handle)
	case <-time.After(nudge):
	}
	close(answer)
	if handle, closed := <-asked, <-c.closed; closed != handle {
		t.Errorf("opened %d, and closed %d", handle, closed)
	}
}

// TestNoAnswer has a target say what is no answer to an open. That is the end of it: no
// attempt follows.
func TestNoAnswer(t *testing.T) {
	unavailable, err := proto.Marshal(status.New(codes.Unavailable, "later").Proto())
	if err != nil {
		t.Fatal(err)
	}
	for name, answer := range map[string]*wire.Answer{
		"nothing":         {},
		"to a close":      {What: &wire.Answer_Close{Close: &wire.CloseReply{}}},
		"none there":      {Status: unavailable},
		"never fits":      {TooLarge: true},
		"no attributes":   {What: &wire.Answer_Open{Open: &wire.OpenReply{}}},
		"no such status":  {Status: []byte("\xff")},
		"success, failed": {Status: []byte{8, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			var attempts atomic.Int64
			c := &fakeControl{closed: make(chan uint64, 1), open: func(*fakeSession, *wire.OpenRequest) *wire.Answer {
				attempts.Add(1)
				return answer
			}}
			r := c.connect(t, remote.Config{Timeout: patience})
			if _, err := r.Open(t.Context(), "d", "file", nil); !errors.Is(err, transport.ErrProtocol) {
				t.Errorf("opened: %v", err)
			}
			if n := attempts.Load(); n != 1 && (n != 2 || !answer.TooLarge) {
				t.Errorf("%d attempts", n)
			}
			<-c.closed
		})
	}
}
