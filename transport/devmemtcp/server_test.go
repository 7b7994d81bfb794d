package devmemtcp

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"hbmfs/transport"
	"hbmfs/transport/internal/frame"
	"hbmfs/transport/transporttest"
)

// client is the client's side of a pair, by hand.
type client struct {
	t    *testing.T
	g    *target
	head net.Conn
	tick ticket
}

// admitted returns a head connection that has its ticket.
func admitted(t *testing.T, g *target) *client {
	t.Helper()
	c := &client{t: t, g: g, head: connect(t, g.session.Addr)}
	if err := headShake.Authenticate(c.head, g.session); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c.head, c.tick[:]); err != nil {
		t.Fatal(err)
	}
	return c
}

func connect(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// greet opens a data connection.
func (c *client) greet(g greeting) net.Conn {
	c.t.Helper()
	data := connect(c.t, c.g.session.Addr)
	if _, err := data.Write(g.append(nil)); err != nil {
		c.t.Fatal(err)
	}
	return data
}

// pairing is what the target says on the head.
func (c *client) pairing() error {
	c.t.Helper()
	var b [pairingSize]byte
	if _, err := io.ReadFull(c.head, b[:]); err != nil {
		c.t.Fatal(err)
	}
	return parsePairing(&b)
}

// ended fails the test unless the target closes c, without a byte.
func ended(t *testing.T, what string, c net.Conn) {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(20 * time.Second))
	var b [1]byte
	if n, err := c.Read(b[:]); n != 0 || errors.Is(err, net.ErrClosed) || err == nil {
		t.Errorf("%s: %d bytes, %v", what, n, err)
	} else if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
		t.Errorf("%s: still open", what)
	}
}

func TestPairing(t *testing.T) {
	g := startTarget(t, transporttest.NewSource(), loopback)
	other := g.sessions.Open(transporttest.NewSource())

	c := admitted(t, g)
	data := c.greet(newGreeting(g.session, c.tick))
	if err := c.pairing(); err != nil {
		t.Fatal(err)
	}
	ended(t, "the same ticket again", c.greet(newGreeting(g.session, c.tick)))

	c.head.Close()
	ended(t, "data after its head", data)

	c = admitted(t, g)
	ended(t, "a ticket of nobody", c.greet(newGreeting(g.session, ticket{1})))
	ended(t, "a ticket of another session", c.greet(newGreeting(other, c.tick)))
	wrong := g.session
	wrong.Secret[0] ^= 1
	data = c.greet(newGreeting(wrong, c.tick))
	if err := c.pairing(); !errors.Is(err, transport.ErrSession) {
		t.Errorf("wrong secret: %v", err)
	}
	ended(t, "a data connection with the wrong secret", data)
	ended(t, "its head", c.head)

	c = admitted(t, g)
	data = c.greet(newGreeting(g.session, c.tick))
	if err := c.pairing(); err != nil {
		t.Fatal(err)
	}
	data.Write([]byte{0})
	ended(t, "the head of a data connection that talks", c.head)
}

// TestPairedLate has nobody come with a ticket: the client is told, on its head.
func TestPairedLate(t *testing.T) {
	g := startTarget(t, transporttest.NewSource(), loopback)
	g.server.patience = 10 * time.Millisecond
	c := admitted(t, g)
	if err := c.pairing(); err == nil || !strings.Contains(err.Error(), "no data connection came in time") {
		t.Errorf("%v", err)
	}
	ended(t, "the head", c.head)
}

// TestAdmitted: who serves is told of clients that proved themselves, and of no
// others.
func TestAdmitted(t *testing.T) {
	g := newTarget(t, transporttest.NewSource())
	told := make(chan [4]byte, 4)
	g.session.Addr = loopback(t, func(c net.Conn) {
		c, magic := sniff(c)
		serve := map[[4]byte]func(context.Context, net.Conn, func()){HeadMagic: g.server.ServeHead, DataMagic: g.server.ServeData}[magic]
		serve(t.Context(), c, func() { told <- magic })
	})
	stranger := connect(t, g.session.Addr)
	wrong := g.session
	wrong.Secret[0] ^= 1
	if err := headShake.Authenticate(stranger, wrong); !errors.Is(err, transport.ErrSession) {
		t.Errorf("wrong secret: %v", err)
	}
	c := admitted(t, g)
	if what := <-told; what != HeadMagic {
		t.Errorf("told of %q", what)
	}
	c.greet(newGreeting(g.session, ticket{1}))
	c.greet(newGreeting(g.session, c.tick))
	if err := c.pairing(); err != nil {
		t.Fatal(err)
	}
	if what := <-told; what != DataMagic || len(told) != 0 {
		t.Errorf("told of %q, and %d more", what, len(told))
	}
}

// TestPairsAreLimited: a client's pairs count while they are, and one more is told
// why not.
func TestPairsAreLimited(t *testing.T) {
	g := startTarget(t, transporttest.NewSource(), loopback)
	g.server.bounds = transporttest.Bounds(8, 1<<30) // of which a client may have half
	var last *client
	for range 2 {
		last = admitted(t, g)
		last.greet(newGreeting(g.session, last.tick))
		if err := last.pairing(); err != nil {
			t.Fatal(err)
		}
	}
	err := headShake.Authenticate(connect(t, g.session.Addr), g.session)
	if !errors.Is(err, transport.ErrConnLost) || !strings.Contains(err.Error(), "too many data connections") {
		t.Errorf("one pair too many: %v", err)
	}
	last.head.Close()
	for g.server.bounds.Connections.Used() == 4 {
		time.Sleep(time.Millisecond)
	}
	admitted(t, g)
}

// TestServerCloses with connections in all stages.
func TestServerCloses(t *testing.T) {
	g := startTarget(t, transporttest.NewSource(), loopback)
	silent, waiting, whole := connect(t, g.session.Addr), admitted(t, g), admitted(t, g)
	silent.Write(DataMagic[:])
	data := whole.greet(newGreeting(g.session, whole.tick))
	if err := whole.pairing(); err != nil {
		t.Fatal(err)
	}
	if err := g.server.Close(); err != nil {
		t.Error(err)
	}
	for what, c := range map[string]net.Conn{"silent": silent, "waiting": waiting.head, "head": whole.head, "data": data} {
		ended(t, what, c)
	}
	late := connect(t, g.session.Addr)
	late.Write(HeadMagic[:])
	ended(t, "late", late)
}

// TestPayloadsInOrder asks for files of which one is slow: it holds up nobody,
// and payloads lie in the order of their headers.
func TestPayloadsInOrder(t *testing.T) {
	source := transporttest.NewSource()
	slow, fast := source.Add(1, extent), source.Add(2, extent)
	hold := source.Hold(1)
	defer hold.Release()
	g := startTarget(t, source, loopback)
	c := admitted(t, g)
	data := c.greet(newGreeting(g.session, c.tick))
	if err := c.pairing(); err != nil {
		t.Fatal(err)
	}
	files := []transport.FileRef{slow, fast, slow, fast, {Handle: 99}}
	var out []byte
	for i, f := range files {
		out = frame.Request{ID: uint64(i), File: f, Off: int64(8 * i), Length: 50000, Checksum: true}.Append(out)
	}
	c.head.Write(out)
	var order []uint64
	for range files {
		var b [frame.ReplySize]byte
		if _, err := io.ReadFull(c.head, b[:]); err != nil {
			t.Fatal(err)
		}
		h, err := frame.ParseReply(b[:])
		if err != nil {
			t.Fatal(err)
		}
		payload := make([]byte, h.Length)
		if _, err := io.ReadFull(data, payload); err != nil {
			t.Fatal(err)
		}
		if h.Length > 0 && (transporttest.Check(payload, files[h.ID], int64(8*h.ID)) != nil || h.CRC != crc32.Checksum(payload, crc32.MakeTable(crc32.Castagnoli))) {
			t.Errorf("reply %d has the wrong payload", h.ID)
		}
		if order = append(order, h.ID); len(order) == 3 {
			hold.Release()
		}
	}
	if order[0] == 0 || order[0] == 2 || order[1] == 0 || order[1] == 2 || order[2] == 0 || order[2] == 2 {
		t.Errorf("in order %v, the slow ones first", order)
	}
}

// fakePeer pairs connections and serves each pair by script.
func fakePeer(t *testing.T, script func(head, data net.Conn)) transport.Session {
	t.Helper()
	g := newTarget(t, transporttest.NewSource())
	g.session.Addr = loopback(t, func(c net.Conn) {
		defer c.Close()
		c, magic := sniff(c)
		if magic == DataMagic {
			g.server.ServeData(t.Context(), c, nil)
			return
		}
		who, err := headShake.Admit(c, g.sessions, func(transport.Admission) error { return nil })
		if err != nil {
			return
		}
		o := &opening{Admitted: who, data: make(chan arrival, 1), done: make(chan struct{})}
		defer close(o.done)
		if data, err := g.server.pair(t.Context(), c, o); err == nil {
			script(c, data)
		}
	})
	return g.session
}

// answer reads a request and sends a header for n bytes of what it asks for.
func answer(head net.Conn, n int) (frame.Request, error) {
	r, err := ask(head)
	if err != nil {
		return r, err
	}
	b := make([]byte, frame.ReplySize)
	frame.Reply{ID: r.ID, Length: uint32(n)}.Put(b)
	_, err = head.Write(b)
	return r, err
}

// ask reads a request.
func ask(head net.Conn) (frame.Request, error) {
	b := make([]byte, frame.RequestSize)
	if _, err := io.ReadFull(head, b); err != nil {
		return frame.Request{}, err
	}
	return frame.ParseRequest(b)
}

// TestSurplus has a target send more than it announced: what follows is not taken
// for the next payload.
func TestSurplus(t *testing.T) {
	s := fakePeer(t, func(head, data net.Conn) {
		for {
			if _, err := answer(head, 100); err != nil {
				return
			}
			data.Write(bytes.Repeat([]byte{1}, 150))
		}
	})
	l := dial(t, New(newLoop(t).config()), s)
	mem := transporttest.NewMapped(100)
	attach(t, l, mem)
	dst := transport.Span{Mem: mem, Len: 100}
	if r := <-submit(t, l, transport.FileRef{}, 0, dst); r.Err != nil {
		t.Fatal(r.Err)
	}
	time.Sleep(10 * time.Millisecond)
	if r := <-submit(t, l, transport.FileRef{}, 0, dst); !errors.Is(r.Err, transport.ErrProtocol) || !errors.Is(r.Err, transport.ErrConnLost) {
		t.Errorf("after a surplus: %+v", r)
	} else {
		t.Log(r.Err)
	}
}

// TestDeficit has a target send less than it announced, and stay, or go.
func TestDeficit(t *testing.T) {
	for _, stays := range []bool{true, false} {
		s := fakePeer(t, func(head, data net.Conn) {
			if _, err := answer(head, 100); err != nil {
				return
			}
			data.Write(bytes.Repeat([]byte{1}, 50))
			if stays {
				io.Copy(io.Discard, head)
			}
		})
		s.Timeout = 100 * time.Millisecond
		l := dial(t, New(newLoop(t).config()), s)
		mem := transporttest.NewMapped(100)
		attach(t, l, mem)
		r := <-submit(t, l, transport.FileRef{}, 0, transport.Span{Mem: mem, Len: 100})
		if !errors.Is(r.Err, transport.ErrConnLost) || errors.Is(r.Err, transport.ErrStalled) != stays {
			t.Errorf("stays %t: %+v", stays, r)
		}
		transporttest.Scribble(*mem)
		if l.Close(); !transporttest.Scribbled(*mem) {
			t.Error("written to after Done")
		}
	}
}

func FuzzGreeting(f *testing.F) {
	f.Add(newGreeting(transport.Session{}, ticket{1}).append(nil))
	f.Add([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))
	var secret transport.Secret
	binary.BigEndian.PutUint64(secret[:], 1)
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) != greetingSize {
			return
		}
		g, err := parseGreeting((*[greetingSize]byte)(b))
		if err != nil {
			return
		}
		if again := g.append(nil); !bytes.Equal(again, b) {
			t.Errorf("%x became %x", b, again)
		}
		if g.proven(secret) {
			t.Error("proven by who knows no secret")
		}
	})
}

func FuzzPairing(f *testing.F) {
	f.Add(paired.encode())
	f.Add(pairingEnd.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) == pairingSize && parsePairing((*[pairingSize]byte)(b)) == nil && !bytes.Equal(b, paired.encode()) {
			t.Errorf("%x is taken for a pair", b)
		}
	})
}
