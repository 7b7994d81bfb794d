package tcp

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"hbmfs/transport"
	"hbmfs/transport/internal/frame"
	"hbmfs/transport/internal/status"
)

// soloConn is one of solos. Its socket is a blocking one, which the
// runtime's poller does not know.
type soloConn struct {
	socket *os.File
	gen    uint64
	out    []byte
}

// close ends the connection, and what is blocked in it.
func (x *soloConn) close() {
	if rc, err := x.socket.SyscallConn(); err == nil {
		rc.Control(func(fd uintptr) { _ = unix.Shutdown(int(fd), unix.SHUT_RDWR) })
	}
	x.socket.Close()
}

// outcome is how a read by a solo connection ended.
type outcome int

const (
	// answered: the payload has come, behind its header, as it was sent.
	answered outcome = iota
	// declined: the target can't or won't. The connection is sound.
	declined
	// lostSolo: the connection is of no more use.
	lostSolo
)

// run asks for r and waits for the answer, which goes to in. That is larger than
// the answer may be. The error is why it was not waited for any longer: ctx's, or
// one wrapping [transport.ErrStalled].
func (x *soloConn) run(ctx context.Context, timeout time.Duration, r frame.Request, in []byte) (outcome, error) {
	x.gen++
	r.ID = x.gen
	if _, err := x.socket.Write(r.Append(x.out[:0])); err != nil {
		return lostSolo, nil
	}
	began, want := time.Now(), frame.ReplySize+int(r.Length)
	for n := 0; n < want; {
		m, err := x.read(ctx, in[n:], began, timeout)
		if m == 0 {
			return lostSolo, err
		}
		if n += m; n >= frame.ReplySize {
			if o := judge(r, in[:n]); o != answered {
				return o, nil
			}
		}
	}
	h, _ := frame.ParseReply(in)
	if h.Checksum && crc32.Checksum(in[frame.ReplySize:want], castagnoli) != h.CRC {
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
	case h.Expect(int64(r.Length), r.Checksum) != nil:
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
