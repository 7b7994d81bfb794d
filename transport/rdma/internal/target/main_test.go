package target

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"hbmfs/transport/rdma/internal/hca"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(tests{m}) }

// tests end when no disconnect is left to be sent.
type tests struct{ *testing.M }

func (t tests) Run() int {
	defer hca.Disconnects.Wait()
	return t.M.Run()
}

// labAddr is an address of this host that an RDMA device serves.
func labAddr(t *testing.T) string {
	t.Helper()
	addr := os.Getenv("HBMFS_RDMA_ADDR")
	if addr == "" {
		t.Skip("unsupported: no RDMA device by HBMFS_RDMA_ADDR (make lab has one)")
	}
	return addr
}
