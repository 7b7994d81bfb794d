package rdma

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(tests{m}) }

// tests end when nothing is left to be said.
type tests struct{ *testing.M }

func (t tests) Run() int {
	defer parting.wait()
	return t.M.Run()
}

// unsupported skips a test that needs what this host lacks.
func unsupported(t *testing.T, need string) {
	t.Helper()
	t.Skip("unsupported: " + need)
}

// labAddr is an address of this host that an RDMA device serves.
func labAddr(t *testing.T) string {
	t.Helper()
	addr := os.Getenv("HBMFS_RDMA_ADDR")
	if addr == "" {
		unsupported(t, "HBMFS_RDMA_ADDR names no address of an RDMA device")
	}
	return addr
}
