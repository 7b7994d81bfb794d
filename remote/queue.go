package remote

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"hbmfs/remote/session"
	"hbmfs/transport"
)

// batchSize is how many requests a link gets at once.
const batchSize = 64

// queue holds the requests that no link of one transport has taken, and hands them to
// that of the session of the moment.
type queue struct {
	*caller
	number  int            // of the transport
	started time.Time      // what deadlines count from
	length  atomic.Int64   // changed under mu
	running sync.WaitGroup // hand over or end requests; grows under mu, until closed
	batch   [batchSize]*op // the pump's
	reqs    [batchSize]*transport.Request

	mu sync.Mutex // guards all below
	waiting
	closed   bool
	pumping  bool // someone hands requests to the link
	again    bool // a credit came back meanwhile
	retrying *time.Timer
	armed    bool    // retrying will fire
	refused  refusal // changed by the pump
}

func newQueue(c *caller, number int) *queue {
	q := &queue{caller: c, number: number, started: time.Now()}
	q.retrying = time.AfterFunc(time.Hour, q.retryWaiting)
	q.retrying.Stop()
	return q
}

// retryEvery is how often requests that wait, for the target or for credits, are
// looked at: tried again, or given up.
const retryEvery = 20 * time.Millisecond

// add queues n ops of a kind. It returns false if the target is closed.
func (q *queue) add(l opList, n int) bool {
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		return false
	}
	q.append(l)
	q.length.Add(int64(n))
	q.mu.Unlock()
	q.pump()
	return true
}

func (q *queue) errClosed() error {
	return fmt.Errorf("target %s: %w", q.cfg.Addr, transport.ErrClosed)
}

// pump hands waiting requests to the link until it has no credit left. One
// goroutine does at a time; another that comes makes it look again.
func (q *queue) pump() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.pumping || q.closed {
		q.again = true
		return
	}
	q.pumping = true
	q.running.Add(1)
	defer q.running.Done()
	for !q.isEmpty() {
		s, _ := q.sessions.Get()
		if s == nil {
			break
		}
		q.again = false
		if all, err := q.handOver(s); err != nil || !all && !q.again {
			break
		}
	}
	q.pumping = false
	if !q.isEmpty() && !q.armed && !q.closed {
		q.armed = true
		q.retrying.Reset(retryEvery)
	}
}

// handOver gives the link one batch, and reports whether it took all of it. q.mu
// is held, but for the time of the submission.
func (q *queue) handOver(s *session.Session) (all bool, err error) {
	n, aside := q.fill(s)
	read := slices.IndexFunc(q.batch[:n], func(o *op) bool { return o.ask == nil })
	q.mu.Unlock()
	put(aside)
	accepted, err := q.submit(s, n)
	if err != nil && needsSession(err) {
		q.sessions.Fail(s, err)
	}
	refused := q.refused
	if n > 0 {
		refused = refusal{s, err}
	}
	if refused.isNews(q.refused) {
		q.cfg.Log.Warn("requests wait", "target", q.cfg.Addr, "err", err)
	}
	q.mu.Lock()
	q.length.Add(-int64(accepted))
	for _, o := range slices.Backward(q.batch[accepted:n]) {
		q.pushFront(o)
	}
	if accepted > 0 {
		q.owed = read < 0 || accepted <= read
	}
	q.refused = refused
	return accepted == n, err
}

// submit gives n requests to the link.
func (q *queue) submit(s *session.Session, n int) (accepted int, err error) {
	if n == 0 {
		return 0, nil
	}
	if link := s.Links.To(q.number); link != nil {
		return link.Submit(q.reqs[:n])
	}
	return 0, fmt.Errorf("%w: the session has no link by %s", transport.ErrConnLost, q.cfg.Candidates[q.number].Name)
}

// fill takes a batch out of the queue and names its files in the session s. It
// sets aside requests that are overdue, or whose file is stale, or whose memory another
// link serves, or none. q.mu is held.
func (q *queue) fill(s *session.Session) (n int, aside []*op) {
	now := time.Since(q.started)
	for n < batchSize && !q.isEmpty() {
		o := q.pop(n == 0)
		d, decided := o.mem.Decision()
		err := d.Err
		if err == nil {
			err = o.nameIn(s, q.cfg.Clock)
		}
		switch {
		case decided && d.Number != q.number:
			err = nil
		case errors.Is(err, transport.ErrSession): // the file is in another by now
			q.pushFront(o)
			return n, aside
		case err == nil && now >= o.deadline:
			err = q.errLate()
		case err == nil:
			o.why = d.Why
			q.batch[n], q.reqs[n] = o, &o.req
			n++
			continue
		}
		o.err = err
		q.length.Add(-1)
		aside = append(aside, o)
	}
	return n, aside
}

// retryWaiting gives up requests that have waited too long, and tries the others.
func (q *queue) retryWaiting() {
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		return
	}
	q.running.Add(1)
	defer q.running.Done()
	q.armed = false
	now := time.Since(q.started)
	overdue := q.remove(q.errLate(), func(o *op) bool { return now >= o.deadline })
	q.mu.Unlock()
	finishAll(overdue)
	q.pump()
}

// remove takes those requests out that match, to end with err. q.mu is held.
func (q *queue) remove(err error, match func(*op) bool) []*op {
	removed := q.removeIf(err, match)
	q.length.Add(-int64(len(removed)))
	return removed
}

// close makes the queue take no more requests, and hand over none.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.retrying.Stop()
}

// drain ends what waits.
func (q *queue) drain() {
	q.mu.Lock()
	all := q.remove(q.errClosed(), func(*op) bool { return true })
	q.mu.Unlock()
	finishAll(all)
}
