//go:build !(linux && cgo)

package verbs

import (
	"errors"
	"strings"
	"testing"
)

func TestStub(t *testing.T) {
	_, devices := Devices()
	_, open := Open("rxe0")
	_, events := NewEvents()
	for _, err := range []error{Load(), devices, open, events} {
		if !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), "built without RDMA") {
			t.Errorf("%v", err)
		}
	}
}
