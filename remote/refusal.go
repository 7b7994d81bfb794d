package remote

import (
	"fmt"

	"hbmfs/remote/session"
	"hbmfs/transport"
)

// refusal is why a session's link did not take all of the last batch; err is nil
// if it did, or lacked credits only.
type refusal struct {
	by  *session.Session
	err error
}

// isNews reports whether r says what last did not.
func (r refusal) isNews(last refusal) bool {
	return r.err != nil && (last.err == nil || r.by != last.by || r.err.Error() != last.err.Error())
}

// errLate says that no link took a request in time, and why there is no link, or
// why it takes none, if that is so. q.mu is held.
func (q *queue) errLate() error {
	err := fmt.Errorf("target %s: %w: no answer in time%s", q.cfg.Addr, transport.ErrConnLost, q.awaySince())
	if cause := q.sessions.Why(); cause != nil {
		return fmt.Errorf("%w; %v", err, cause)
	}
	return q.withRefusal(err)
}

// withRefusal adds to err why the session's link takes nothing, if that is so. q.mu is
// held.
func (q *queue) withRefusal(err error) error {
	if cur, _ := q.sessions.Get(); q.refused.err != nil && q.refused.by == cur {
		return fmt.Errorf("%w; %v", err, q.refused.err)
	}
	return err
}
