package tcp

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"hbmfs/transport"
	"hbmfs/transport/internal/frame"
	"hbmfs/transport/internal/status"
)

const (
	// exchangeMax is the largest payload of an exchange, in bytes. For more, the
	// copies cost so much that it does not matter who waits.
	exchangeMax = 16 << 10
	// exchangeTick is how often a caller that waits looks whether it should.
	exchangeTick = 50 * time.Millisecond
)

// solos are a link's connections beside its lanes, each for one caller at a
// time who reads its answer itself: no goroutine has to be woken for it. There
// are at most as many as lanes, and none under TLS.
type solos struct {
	mu       sync.Mutex // guards what follows
	ended    bool
	idle     []*soloConn
	all      map[*soloConn]struct{} // the idle ones too
	dialling int
	failed   uint32 // tick of the last dial that failed; no other before the next
}

// soloConn is one such connection. Its socket is a blocking one, which the
// runtime's poller does not know.
type soloConn struct {
	socket *os.File
	gen    uint64
	out    []byte
	in     [frame.ReplySize + exchangeMax]byte
}

// Exchange implements [transport.Exchanger].
func (l *link) Exchange(ctx context.Context, file transport.FileRef, off int64, dst []byte) (transport.Result, bool) {
	x := l.borrow(len(dst))
	if x == nil {
		return transport.Result{}, false
	}
	o, err := x.run(ctx, l.Session.Timeout, frame.Request{
		File: file, Off: off, Length: uint32(len(dst)), Checksum: l.Session.Checksums,
	})
	res := transport.Result{Path: transport.PathStaged, Why: l.Session.Why, HostCopies: 1}
	switch {
	case err != nil:
		res = transport.Result{Why: l.Session.Why, Err: fmt.Errorf("tcp %s: %d bytes at %d of file %d: %w",
			l.Session.Addr, len(dst), off, file.Handle, err)}
	case o == answered:
		copy(dst, x.in[frame.ReplySize:])
	}
	l.solos.giveBack(x, o != lostSolo)
	if err == nil && o != answered {
		l.Undo()
		return res, false
	}
	l.End(err, int64(len(dst)))
	return res, true
}

// borrow takes an idle connection for a payload of n bytes, or returns nil and
// sees to it that there is one the next time. The caller ends with giveBack, and
// End or Undo.
func (l *link) borrow(n int) *soloConn {
	if n > exchangeMax || l.Session.TLS != nil {
		return nil
	}
	xs := &l.solos
	xs.mu.Lock()
	defer xs.mu.Unlock()
	last := len(xs.idle) - 1
	switch now := l.Tick(); {
	case last >= 0:
		if !l.Begin() {
			return nil
		}
		x := xs.idle[last]
		xs.idle = xs.idle[:last]
		return x
	case len(xs.all)+xs.dialling < l.Session.Connections && (xs.failed == 0 || xs.failed != now):
		if l.Go(l.dialSolo) {
			xs.dialling++
		}
	}
	return nil
}

// giveBack makes x idle again, or drops it if it is not sound or the link has
// ended.
func (xs *solos) giveBack(x *soloConn, sound bool) {
	xs.mu.Lock()
	defer xs.mu.Unlock()
	if sound && !xs.ended {
		xs.idle = append(xs.idle, x)
		return
	}
	delete(xs.all, x)
	x.close()
}

// end closes all connections, also under those who wait for an answer.
func (xs *solos) end() {
	xs.mu.Lock()
	defer xs.mu.Unlock()
	xs.ended = true
	for x := range xs.all {
		x.close()
	}
}

// dialSolo opens one more connection.
func (l *link) dialSolo() {
	x, err := l.newSolo()
	xs := &l.solos
	xs.mu.Lock()
	defer xs.mu.Unlock()
	xs.dialling--
	switch {
	case err != nil:
		xs.failed = max(l.Tick(), 1)
	case xs.ended:
		x.close()
	default:
		xs.all[x] = struct{}{}
		xs.idle = append(xs.idle, x)
	}
}

func (l *link) newSolo() (*soloConn, error) {
	ctx, cancel := context.WithTimeout(l.Context(), handshakeTimeout)
	defer cancel()
	nc, err := l.reach(ctx)
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	tune(nc)
	socket, err := blocking(nc, exchangeTick)
	if err != nil {
		return nil, err
	}
	return &soloConn{socket: socket, out: make([]byte, 0, frame.RequestSize)}, nil
}

// close ends the connection, and what is blocked in it.
func (x *soloConn) close() {
	if rc, err := x.socket.SyscallConn(); err == nil {
		rc.Control(func(fd uintptr) { _ = unix.Shutdown(int(fd), unix.SHUT_RDWR) })
	}
	x.socket.Close()
}

// outcome is how an exchange ended.
type outcome int

const (
	// answered: the payload is in soloConn.in, behind the header, as it was sent.
	answered outcome = iota
	// declined: the target can't or won't. The connection is sound.
	declined
	// lostSolo: the connection is of no more use.
	lostSolo
)

// run asks for r and waits for the answer. The error is why it was not waited
// for any longer: ctx's, or one wrapping [transport.ErrStalled].
func (x *soloConn) run(ctx context.Context, timeout time.Duration, r frame.Request) (outcome, error) {
	x.gen++
	r.ID = x.gen
	if _, err := x.socket.Write(r.Append(x.out[:0])); err != nil {
		return lostSolo, nil
	}
	began, want := time.Now(), frame.ReplySize+int(r.Length)
	for n := 0; n < want; {
		m, err := x.read(ctx, x.in[n:], began, timeout)
		if m == 0 {
			return lostSolo, err
		}
		if n += m; n >= frame.ReplySize {
			if o := judge(r, x.in[:n]); o != answered {
				return o, nil
			}
		}
	}
	h, _ := frame.ParseReply(x.in[:])
	if h.Checksum && crc32.Checksum(x.in[frame.ReplySize:want], castagnoli) != h.CRC {
		return lostSolo, nil
	}
	return answered, nil
}

// read returns 0 once the connection has ended, or, with why, if it is not to be
// waited for any longer.
func (x *soloConn) read(ctx context.Context, b []byte, began time.Time, timeout time.Duration) (n int, why error) {
	for {
		n, err := x.socket.Read(b)
		if !errors.Is(err, unix.EAGAIN) {
			return n, nil
		}
		if why := overdue(ctx, began, timeout); why != nil {
			return 0, why
		}
	}
}

// judge says what came so far, a header at least, makes of the request r.
func judge(r frame.Request, came []byte) outcome {
	h, err := frame.ParseReply(came)
	switch {
	case err != nil || h.ID != r.ID || len(came) > frame.ReplySize+int(h.Length):
		return lostSolo
	case h.Status != status.OK:
		return declined
	case h.Length != r.Length || h.Checksum != r.Checksum:
		return lostSolo
	}
	return answered
}

// overdue says why a caller that began to wait then shouldn't any longer.
func overdue(ctx context.Context, began time.Time, timeout time.Duration) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if time.Since(began) > timeout {
		return fmt.Errorf("%w: %w: no answer within %v", transport.ErrConnLost, transport.ErrStalled, timeout)
	}
	return nil
}
