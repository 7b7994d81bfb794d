package receive

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// unsupported skips a test that this host can't run.
func unsupported(t testing.TB, why string) {
	t.Helper()
	t.Skip("unsupported: " + why)
}
