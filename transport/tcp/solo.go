package tcp

import (
	"context"
	"fmt"
	"sync"
	"time"

	"hbmfs/fs/uapi"
	"hbmfs/transport"
	"hbmfs/transport/internal/frame"
	"hbmfs/transport/internal/landing"
	"hbmfs/transport/internal/liveness"
)

const (
	// soloMax is the largest plain read, in bytes, that goes by such a connection.
	// More costs so much to copy that it does not matter who waits.
	soloMax = 16 << 10
	// soloTick is how often a caller that waits looks whether it should.
	soloTick = 50 * time.Millisecond
)

// solos are a link's connections beside its lanes, each for one caller at a
// time who reads its answer itself: no goroutine has to be woken for it. There
// are at most as many as lanes, and none under TLS. Calls don't go by them.
type solos struct {
	mu       sync.Mutex // guards what follows
	ended    bool
	idle     []*soloConn
	all      map[*soloConn]struct{} // the idle ones too
	dialling int
	failed   uint32 // tick of the last dial that failed; no other before the next
}

// Read implements [transport.Link]: a small read goes by a connection that its
// caller has to himself, if there is one. If that brings anything but what was
// asked for, the same goes by a lane, which is to say why.
func (l *link) Read(ctx context.Context, file transport.FileRef, off int64, n int) (transport.Buffer, transport.Result) {
	if err := l.CheckRead(file, off, n); err != nil {
		return nil, transport.Result{Err: err}
	}
	x := l.borrow(n)
	if x == nil {
		return l.Link.Read(ctx, file, off, n)
	}
	buf := landing.GetBuffer(n)
	o, err := x.run(ctx, l.Session.Timeout, frame.Request{
		File: file, Off: off, Length: uint32(n), Checksum: l.Session.Checksums,
	}, buf.Raw[landing.Room-frame.ReplySize:])
	l.solos.giveBack(x, o != lostSolo)
	switch {
	case err != nil:
		l.End(err, int64(n))
		buf.Release()
		return nil, transport.Result{Err: fmt.Errorf("tcp %s: %d bytes at %d of file %d: %w",
			l.Session.Addr, n, off, file.Handle, err)}
	case o != answered:
		l.Undo()
		buf.Release()
		return l.Link.Read(ctx, file, off, n)
	}
	l.End(nil, int64(n))
	return buf, transport.Result{Path: uapi.PathStaged, HostCopies: 1}
}

// borrow takes an idle connection for a payload of n bytes, or returns nil and
// sees to it that there is one the next time. The caller ends with giveBack, and
// End or Undo.
func (l *link) borrow(n int) *soloConn {
	if n > soloMax || l.Session.TLS != nil {
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
	ctx, cancel := context.WithTimeout(l.Context(), liveness.Handshake)
	defer cancel()
	nc, err := l.reach(ctx)
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	tune(nc)
	socket, err := blocking(nc, soloTick)
	if err != nil {
		return nil, err
	}
	return &soloConn{socket: socket, out: make([]byte, 0, frame.RequestSize)}, nil
}
