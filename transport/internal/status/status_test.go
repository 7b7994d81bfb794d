package status

import (
	"errors"
	"fmt"
	"testing"
)

func TestThereAndBack(t *testing.T) {
	for c := OK; c < End; c++ {
		if (c.Err() == nil) != (c == OK) {
			t.Errorf("code %d means %v", c, c.Err())
		}
		if got := Of(c.Err()); got != c {
			t.Errorf("code %d became %d", c, got)
		}
	}
	if got := Of(fmt.Errorf("read: %w", Stale.Err())); got != Stale {
		t.Errorf("a wrapped error is code %d", got)
	}
	if got := Of(errors.New("disk on fire")); got != Source {
		t.Errorf("an error of no promised kind is code %d", got)
	}
}

// TestOnTheWire pins the numbers, which both ends must agree on.
func TestOnTheWire(t *testing.T) {
	if OK != 0 || Stale != 1 || Range != 2 || Source != 3 || UnknownFile != 4 || End != 5 {
		t.Error("a code has another number")
	}
}
