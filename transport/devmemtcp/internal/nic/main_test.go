package nic

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(holderEnv); dir != "" {
		hold(dir)
	}
	goleak.VerifyTestMain(m)
}

// skip skips a test that needs what this machine hasn't got.
func skip(t testing.TB, need string) {
	t.Helper()
	t.Skipf("unsupported: %s", need)
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		check(t, err)
		return v
	}
}
