package uapi

import (
	"fmt"
	"testing"
)

func TestPathAndReasonNames(t *testing.T) {
	for p := PathNone; p <= PathRDMA; p++ {
		if direct := p == PathRDMA || p == PathDevmemTCP; p.Direct() != direct {
			t.Errorf("%v is direct: %t", p, p.Direct())
		}
	}
	for got, want := range map[fmt.Stringer]string{
		PathStaged:      "staged",
		Path(77):        "path(77)",
		WhyPlainRead:    "plain read",
		Reason(77):      "reason(77)",
		PathRDMA:        "rdma",
		WhyLocalSource:  "source is local to the mount",
		PathDevmemTCP:   "devmem-tcp",
		WhyRequested:    "asked for by --transport",
		PathHost:        "host",
		WhyNoDirect:     "no direct transport usable",
		PathNone:        "none",
		Reason(1 << 15): "reason(32768)",
	} {
		if got.String() != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
