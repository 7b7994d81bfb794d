package byname

import (
	"errors"
	"fmt"
	"syscall"
	"testing"

	"hbmfs/transport"
)

// TestNewest: what changes is tried again, wherever that was found, and nothing else is.
func TestNewest(t *testing.T) {
	changed := fmt.Errorf("f: %w since it was looked up", transport.ErrStale)
	for _, c := range []struct {
		errs []error
		want error
	}{
		{[]error{nil}, nil},
		{[]error{changed, nil}, nil},
		{[]error{changed, changed, syscall.EACCES}, syscall.EACCES},
		{[]error{changed, changed, changed}, transport.ErrStale},
	} {
		tries := 0
		_, err := Newest(func() (int, error) {
			tries++
			return tries, c.errs[tries-1]
		})
		if !errors.Is(err, c.want) || tries != len(c.errs) {
			t.Errorf("%v: %d tries, %v", c.errs, tries, err)
		}
	}
}
