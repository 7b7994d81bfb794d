package target_test

import (
	"testing"

	"hbmfs/transport"
	"hbmfs/transport/rdma"
	"hbmfs/transport/rdma/internal/target"
	"hbmfs/transport/transporttest"
)

// TestConformance is package rdma's too: here a target can be made to fail.
func TestConformance(t *testing.T) {
	transporttest.Run(t, transporttest.Harness{
		Start: func(t *testing.T, source transport.Source) (transport.Transport, transport.Session) {
			return rdma.New(), target.Start(t, source)
		},
		Faulty: func(t *testing.T, source transport.Source, fault transporttest.Fault) (transport.Transport, transport.Session, func()) {
			session, heal := target.StartFaulty(t, source, fault)
			return rdma.New(), session, heal
		},
		Checksums: true,
	})
}
