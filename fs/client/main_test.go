package client

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

// TestMain fails the package if goroutines, descriptors or mappings are left.
func TestMain(m *testing.M) {
	code := m.Run()
	if err := goleak.Find(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	if left := leftovers(); len(left) > 0 {
		fmt.Fprintln(os.Stderr, "left open or mapped:", left)
		code = 1
	}
	os.Exit(code)
}

// leftovers are the sockets and memfds that this process still has.
func leftovers() (left []string) {
	entries, _ := os.ReadDir("/proc/self/fd")
	for _, e := range entries {
		name, _ := os.Readlink("/proc/self/fd/" + e.Name())
		if strings.HasPrefix(name, "socket:") || strings.Contains(name, memfdName) {
			left = append(left, name)
		}
	}
	maps, _ := os.ReadFile("/proc/self/maps")
	for line := range strings.Lines(string(maps)) {
		if strings.Contains(line, memfdName) {
			left = append(left, line)
		}
	}
	return left
}

// unsupported is the one way to skip: what is tested cannot be had here.
func unsupported(t *testing.T, reason string) {
	t.Helper()
	t.Skip("unsupported: " + reason)
}
