//go:build linux && cgo

package verbs

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"unsafe"
)

// TestLayout states the layouts that layout.go compares with the C structs'.
func TestLayout(t *testing.T) {
	var (
		w Work
		c Completion
		r Recv
	)
	for name, got := range map[string][2]uintptr{
		"Work":          {unsafe.Sizeof(w), 48},
		"Work.Len":      {unsafe.Offsetof(w.Len), 24},
		"Work.Op":       {unsafe.Offsetof(w.Op), 40},
		"Completion":    {unsafe.Sizeof(c), 32},
		"Completion.Op": {unsafe.Offsetof(c.Op), 12},
		"Recv":          {unsafe.Sizeof(r), 24},
		"Recv.Len":      {unsafe.Offsetof(r.Len), 16},
	} {
		if got[0] != got[1] {
			t.Errorf("%s: %d, want %d", name, got[0], got[1])
		}
	}
}

func TestLoadError(t *testing.T) {
	if err := loadError(0, ""); err != nil {
		t.Error(err)
	}
	for stage, pkg := range map[int]string{1: "libibverbs1", 2: "librdmacm1"} {
		err := loadError(stage, "cannot open shared object file")
		if !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), pkg) ||
			!strings.Contains(err.Error(), "cannot open shared object file") {
			t.Errorf("stage %d: %v", stage, err)
		}
	}
}

func TestOpenUnknown(t *testing.T) {
	for _, name := range []string{"", "no-such-device", "a\x00b", strings.Repeat("x", 100)} {
		if _, err := Open(name); !errors.Is(err, ErrUnsupported) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestPortCodes(t *testing.T) {
	for code, want := range []int{0, 256, 512, 1024, 2048, 4096, 0} {
		if got := mtuBytes(uint8(code)); got != want {
			t.Errorf("MTU code %d: %d bytes, want %d", code, got, want)
		}
	}
	if code, ok := mtuCode(1024); !ok || code != 3 {
		t.Errorf("MTU 1024: %d, %v", code, ok)
	}
	if _, ok := mtuCode(1500); ok {
		t.Error("MTU 1500 has a code")
	}
	if got := portSpeed(2, 32); got != 100e9 {
		t.Errorf("4 lanes of 25 Gb/s: %d", got)
	}
	if got := portSpeed(3, 32); got != 0 {
		t.Errorf("a width of two bits: %d", got)
	}
}

func TestAddrRoundTrip(t *testing.T) {
	for _, c := range [][2]string{
		{"10.77.0.1:4791", "10.77.0.1:4791"},
		{"[::ffff:10.77.0.1]:1", "10.77.0.1:1"},
		{"[fd77::1]:65535", "[fd77::1]:65535"},
		{"[fe80::1%7]:5", "[fe80::1%7]:5"},
		{"[fe80::1%lo]:5", "[fe80::1%1]:5"},
	} {
		raw, err := rawAddr(netip.MustParseAddrPort(c[0]))
		if err != nil || goAddr(&raw).String() != c[1] {
			t.Errorf("%s: %v, %v", c[0], goAddr(&raw), err)
		}
	}
	for _, bad := range []netip.AddrPort{{}, netip.MustParseAddrPort("[fe80::1%no-such]:5")} {
		if _, err := rawAddr(bad); err == nil {
			t.Errorf("%v is taken", bad)
		}
	}
}
