package outage

import (
	"testing"
	"time"
)

// TestSilentTarget: a target that is connected, and answers nothing, is away from
// the first call on that it did not answer; one that answers others is slow.
func TestSilentTarget(t *testing.T) {
	var a Outage
	began := time.Now()
	a.End()
	a.Unanswered(began)
	if since, why := a.Report(); since != nil {
		t.Errorf("a slow target is away: %v, %s", since, why)
	}
	began = time.Now()
	a.Unanswered(began)
	a.Unanswered(began.Add(time.Second))
	if since, why := a.Report(); since == nil || !since.Equal(began) || why != NoAnswer {
		t.Errorf("a silent target: %v, %s; want away since %v", since, why, began)
	}
	a.End()
	if since, why := a.Report(); since != nil {
		t.Errorf("a target that answered is away: %v, %s", since, why)
	}
}
