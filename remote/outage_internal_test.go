package remote

import (
	"testing"
	"time"
)

// TestSilentTarget: a target that is connected, and answers nothing, is away from
// the first call on that it did not answer; one that answers others is slow.
func TestSilentTarget(t *testing.T) {
	var a outage
	began := time.Now()
	a.end()
	a.unanswered(began)
	if since, why := a.report(); since != nil {
		t.Errorf("a slow target is away: %v, %s", since, why)
	}
	began = time.Now()
	a.unanswered(began)
	a.unanswered(began.Add(time.Second))
	if since, why := a.report(); since == nil || !since.Equal(began) || why != noAnswer {
		t.Errorf("a silent target: %v, %s; want away since %v", since, why, began)
	}
	a.end()
	if since, why := a.report(); since != nil {
		t.Errorf("a target that answered is away: %v, %s", since, why)
	}
}
