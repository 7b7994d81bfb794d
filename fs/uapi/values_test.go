package uapi_test

import (
	"testing"

	"hbmfs/fs/uapi"
	"hbmfs/transport"
)

func TestPathsAndReasonsAreTransports(t *testing.T) {
	paths := map[transport.Path]int{
		transport.PathNone:      uapi.PathNone,
		transport.PathHost:      uapi.PathHost,
		transport.PathStaged:    uapi.PathStaged,
		transport.PathDevmemTCP: uapi.PathDevmemTCP,
		transport.PathRDMA:      uapi.PathRDMA,
	}
	for p, n := range paths {
		if int(p) != n {
			t.Errorf("path %v is %d in transport, %d in the ABI", p, p, n)
		}
	}
	reasons := map[transport.Reason]int{
		transport.WhyBest:          uapi.WhyBest,
		transport.WhyRequested:     uapi.WhyRequested,
		transport.WhyNoDirect:      uapi.WhyNoDirect,
		transport.WhyLocalSource:   uapi.WhyLocalSource,
		transport.WhyPlainRead:     uapi.WhyPlainRead,
		transport.WhyNotRegistered: uapi.WhyNotRegistered,
		transport.WhyNotSteered:    uapi.WhyNotSteered,
	}
	for r, n := range reasons {
		if int(r) != n {
			t.Errorf("reason %v is %d in transport, %d in the ABI", r, r, n)
		}
	}
}
