package verbs

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAlloc(t *testing.T) {
	b, err := Alloc(3 << 12)
	if err != nil {
		t.Fatal(err)
	}
	if len(b) != 3<<12 || Addr(b)%(1<<12) != 0 {
		t.Errorf("%d bytes at %#x", len(b), Addr(b))
	}
	for i := range b {
		if b[i] != 0 {
			t.Fatalf("byte %d is %d", i, b[i])
		}
	}
	if Addr(b[8:]) != Addr(b)+8 || Addr(nil) != 0 {
		t.Errorf("Addr: %#x, of 8 on %#x, of nil %#x", Addr(b), Addr(b[8:]), Addr(nil))
	}
	b[len(b)-1] = 1
	if err := Free(b); err != nil {
		t.Fatal(err)
	}
	if b, err := Alloc(0); err == nil {
		t.Errorf("Alloc(0) gave %d bytes", len(b))
	}
}

func TestNames(t *testing.T) {
	for got, want := range map[string]string{
		StatusFlushed.String():       "work request flushed",
		StatusRetryExceeded.String(): "transport retry counter exceeded",
		Status(10).String():          "remote access error",
		Status(99).String():          "unknown status",
		DeviceRemoval.String():       "device removal",
		EventKind(12).String():       "unknown event",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
