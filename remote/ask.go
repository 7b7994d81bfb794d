package remote

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"hbmfs/remote/control"
	"hbmfs/remote/session"
	"hbmfs/remote/term"
	"hbmfs/remote/wire"
	"hbmfs/transport"
)

// ask is a question to the target: to open a file, or to close some, or for
// attributes. It goes by the link, with others in a message.
type ask struct {
	what  *wire.Ask
	file  *File // that it opens; nil: none
	names *File // whose name it wants delegated; nil: none

	sent    time.Duration // by the mount's clock: the latest attempt
	recalls uint64        // of names' name, before that
	answer  *wire.Answer  // as is err, set before ended is closed
	err     error
	ended   chan struct{}
}

func newAsk(what *wire.Ask) *ask { return &ask{what: what, ended: make(chan struct{})} }

// attemptSize is how long the number of an attempt may be, in bytes.
const attemptSize = 11

// fits reports whether a link can carry it.
func (a *ask) fits() bool { return proto.Size(a.what) <= transport.MaxCall-attemptSize }

// next numbers another attempt.
func (a *ask) next() {
	if open := a.what.GetOpen(); open != nil {
		open.Attempt++
	}
}

// begin is called before each attempt, with its session.
func (a *ask) begin(s *session.Session, clock term.Clock) {
	if a.file != nil {
		a.file.session.Store(s)
	}
	if a.names != nil {
		a.recalls = a.names.recalls()
	}
	a.sent = clock()
}

// decode takes an answer that came by the link.
func (a *ask) decode(s *session.Session, b []byte) error {
	answer := new(wire.Answer)
	if err := proto.Unmarshal(b, answer); err != nil {
		return fmt.Errorf("%w: an answer of %d bytes: %v", transport.ErrProtocol, len(b), err)
	}
	return a.take(s, answer)
}

// take takes the answer to the attempt in the session s, whose term it may
// extend. The error is what the target says, as [control.Error] has it, or is
// [transport.ErrSession] if a file was opened in a session that is not the current
// one any more.
func (a *ask) take(s *session.Session, answer *wire.Answer) error {
	if err := control.Error(answer.Err()); err != nil {
		if errors.Is(err, transport.ErrConnLost) { // it was not: there is an answer
			err = fmt.Errorf("%w: an answer that says: %v", transport.ErrProtocol, err)
		}
		return err
	}
	a.answer = answer
	if answer.TooLarge {
		return nil
	}
	switch a.what.What.(type) {
	case *wire.Ask_Stat:
		if answer.GetStat() == nil {
			return fmt.Errorf("%w: no answer to a stat", transport.ErrProtocol)
		}
		if a.names != nil {
			a.names.delegated(s, answer.GetStat(), a.recalls)
		}
		s.Term.Granted(a.sent, answer.GetStat().TermMs)
	case *wire.Ask_Open:
		if answer.GetOpen() == nil {
			return fmt.Errorf("%w: no answer to an open", transport.ErrProtocol)
		}
		s.Term.Granted(a.sent, answer.GetOpen().TermMs)
	}
	if a.file != nil {
		return a.file.opened(s, answer.GetOpen())
	}
	return nil
}

// ask has a answered by the first link: see [queue.ask].
func (m *memories) ask(ctx context.Context, a *ask) error { return m.first.ask(ctx, a) }

// ask has a answered, or fails as [caller.call] does. If a has not ended by then,
// it will, and what it has the target do may be done.
func (q *queue) ask(ctx context.Context, a *ask) error {
	if err := ctx.Err(); err != nil {
		a.err = err
		close(a.ended)
		return err
	}
	w := q.startWait()
	inner, cancel := context.WithTimeout(ctx, w.limit)
	defer cancel()
	q.begin(ctx, a, w.limit+retryEvery) // by when it is not waited for
	var err error
	select {
	case <-a.ended:
		if err = a.err; err == nil && a.answer.TooLarge {
			err = q.askAlone(inner, a)
		}
	case <-inner.Done():
		err = inner.Err()
	}
	if err == nil || inner.Err() == nil || ctx.Err() != nil {
		return q.overdue(ctx, inner, w, err)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.withRefusal(q.overdue(ctx, inner, w, err))
}

// begin has a answered within that time, whoever still waits for it then. It ends at
// once if the target is closed.
func (q *queue) begin(ctx context.Context, a *ask, limit time.Duration) {
	if !a.fits() {
		go func() {
			defer close(a.ended)
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
			defer cancel()
			a.err = q.askAlone(ctx, a)
		}()
		return
	}
	o := newOp(q, time.Since(q.started)+limit)
	o.setAsk(a)
	if !q.add(opList{o, o}, 1) {
		o.finish(nil, transport.Result{Err: q.errClosed()})
	}
}

// askAlone is for asks that the link can't carry, or whose answer it can't.
func (c *caller) askAlone(ctx context.Context, a *ask) error {
	return c.retryCall(ctx, func(ctx context.Context, s *session.Session) error {
		a.begin(s, c.cfg.Clock)
		return c.askIn(ctx, s, a)
	})
}

// askIn makes an attempt in the session s by a message of its own.
func (c *caller) askIn(ctx context.Context, s *session.Session, a *ask) error {
	a.next()
	answer, err := c.control.Do(ctx, &wire.DoRequest{Session: s.ID, Ask: a.what})
	if err != nil {
		return err
	}
	if answer.TooLarge {
		return fmt.Errorf("%w: an answer too large for a message of its own", transport.ErrProtocol)
	}
	return a.take(s, answer)
}

// askRoom is an ask and its answer, as a link has them.
type askRoom struct {
	call        transport.Call
	ask, answer [transport.MaxCall]byte
}

var askRooms = sync.Pool{New: func() any { return new(askRoom) }}

// encode readies the room for another attempt.
func (r *askRoom) encode(a *ask) {
	a.next()
	b, err := proto.MarshalOptions{}.MarshalAppend(r.ask[:0], a.what)
	if err != nil {
		panic(err) // bytes and numbers can always be encoded
	}
	r.call = transport.Call{Ask: b, Answer: r.answer[:0]}
}
