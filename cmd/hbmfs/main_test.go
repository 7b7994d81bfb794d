package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"hbmfs/cmd/hbmfs/internal/mounts"
	"hbmfs/fs/client"
	"hbmfs/transport"
)

// asProgram makes the test binary be hbmfs, for tests that need a process.
const asProgram = "HBMFS_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	mounts.RunIfHelper()
	if os.Getenv(asProgram) != "" {
		main()
	}
	goleak.VerifyTestMain(m)
}

// command runs one command line in this process.
func command(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(context.Background(), args, &out, &errs)
	return code, out.String(), errs.String()
}

func TestUsageErrors(t *testing.T) {
	dir := t.TempDir()
	for _, args := range [][]string{
		{"nothing"},
		{"--nothing"},
		{"serve"},
		{"serve", "no-equals-sign"},
		{"serve", "--tls-cert", "x", "a=" + dir},
		{"serve", "=" + dir},
		{"serve", "a="},
		{"serve", "a/b=" + dir},
		{"serve", ".hbmfs=" + dir},
		{"serve", "a=" + dir, "a=" + dir},
		{"serve", "--listen", "", "a=" + dir},
		{"serve", "--listen", "7070", "a=" + dir},
		{"serve", "--listen", "localhost", "a=" + dir},
		{"serve", "--listen", "localhost:65536", "a=" + dir},
		{"serve", "--listen", "localhost:-1", "a=" + dir},
		{"serve", "--listen", "localhost:http", "a=" + dir},
		{"mount", dir},
		{"mount", "nowhere", dir},
		{"mount", "--pool", "1 GiB", dir, dir},
		{"mount", "--pool", "1M", "--extent", "2M", "./x", dir},
		{"mount", "--extent", "3M", "./x", dir},
		{"mount", "--checksums", "yes", "./x", dir},
		{"mount", "--connections", "0", "./x", dir},
		{"mount", "--connections", "-1", "./x", dir},
		{"mount", "--connections", "65", "./x", dir},
		{"mount", "--connections", "100000", "./x", dir},
		{"mount", "--connections", "many", "./x", dir},
		{"mount", "--connections", "99999999999999999999", "./x", dir},
		{"mount", "--transport", "quic", "./x", dir},
		{"mount", "--transport", "", "./x", dir},
		{"mount", "--device", "tpu", "./x", dir},
		{"mount", "--queues", "0", "./x", dir},
		{"mount", "--queues", "100000", "--nic", "eth0", "./x", dir},
		{"mount", "--queues", "2", "./x", dir},
		{"mount", "--lend-queues", "-1", "./x", dir},
		{"mount", "--lend-queues", "100000", "--nic", "eth0", "./x", dir},
		{"mount", "--lend-queues", "1", "./x", dir},
		{"mount", "--extent", "0", "./x", dir},
		{"mount", "--extent", "2K", "./x", dir},
		{"mount", "--extent", "9999999999T", "./x", dir},
		{"mount", "--pool", "0", "./x", dir},
		{"mount", "--pool", "-1", "./x", dir},
		{"mount", "--pool", "8E", "./x", dir},
		{"mount", "--strict=perhaps", "./x", dir},
		{"mount", "--tls-cert", "x", "./x", dir},
		{"mount", "127.0.0.1:0/x", dir},
		{"mount", "127.0.0.1:65536/x", dir},
		{"mount", ":7070/x", dir},
		{"mount", "", dir},
		{"mount", dir, ""},
		{"mount", dir, dir},
		{"mount", "-o", "frob", "./x", dir},
		{"-o", "ro"},
		{"-o", "ro", "read", dir, dir},
		{"./x", dir},
		{"umount"},
		{"umount", dir, dir},
		{"umount", ""},
		{"read"},
		{"read", "--range", "7", dir},
		{"read", "--range", "0:-1", dir},
		{"read", ""},
		{"stat"},
		{"stat", ""},
		{"stat", dir, dir},
		{"doctor", "x"},
		{"bench"},
		{"bench", "nothing"},
		{"bench", "loader"},
		{"bench", "loader", dir},
		{"bench", "loader", "--workload", "retinanet"},
		{"bench", "loader", dir, dir, "--workload", "retinanet"},
		{"bench", "loader", "--make", dir, dir, "--workload", "retinanet"},
		{"bench", "loader", dir, "--workload", "llama"},
		{"bench", "loader", dir, "--workload", "retinanet", "--via", "post"},
		{"bench", "loader", dir, "--workload", "retinanet", "--workers", "0"},
		{"bench", "loader", dir, "--workload", "retinanet", "--workers", "many"},
		{"bench", "loader", dir, "--workload", "retinanet", "--batch", "0"},
		{"bench", "loader", dir, "--workload", "retinanet", "--epochs", "-1"},
		{"bench", "loader", dir, "--workload", "retinanet", "--seed", "-1"},
		{"bench", "loader", dir, "--workload", "retinanet", "--scale", "0"},
		{"bench", "loader", dir, "--workload", "retinanet", "--scale", "1.01"},
		{"bench", "loader", dir, "--workload", "retinanet", "--scale", "NaN"},
		{"bench", "loader", dir, "--workload", "retinanet", "--scale", "half"},
		{"bench", "loader", dir, "--workload", "retinanet", "--sample", "4K"},
		{"bench", "loader", dir, "--workload", "custom", "--sample", "0"},
		{"bench", "loader", dir, "--workload", "custom", "--sample", "65MiB"},
		{"bench", "loader", dir, "--workload", "retinanet", "--pool", "1G"},
		{"bench", "loader", "--make", dir, "--workload", "retinanet", "--pool", "4K"},
		{"warm"},
		{"warm", ""},
		{"warm", "--window", "1G", dir},
		{"warm", "--follow-order", "", dir},
		{"warm", "--follow-order", "-", "--window", "0", dir},
		{"warm", "--follow-order", "-", dir, dir},
	} {
		code, stdout, stderr := command(t, args...)
		if code != exitUsage || stdout != "" || !strings.HasPrefix(stderr, "hbmfs: ") || !strings.Contains(stderr, "--help'.") {
			t.Errorf("hbmfs %q: exit code %d, stdout %q, stderr %q; want code %d and a hint", args, code, stdout, stderr, exitUsage)
		}
	}
}

func TestExitCodes(t *testing.T) {
	for code, err := range map[int]error{
		exitOK:        nil,
		exitFailure:   errors.New("any"),
		exitUsage:     usagef("wrong"),
		exitMismatch:  filesError{2, []error{errors.New("any"), fmt.Errorf("%w: f", errMismatch)}},
		exitTransport: fmt.Errorf("connect: %w", transport.ErrUnavailable),
		exitNotMount:  fmt.Errorf("open: %w", client.ErrNotHBMFS),
		exitBusy:      fmt.Errorf("%w: /mnt", errBusy),
	} {
		if got := exitCode(err); got != code {
			t.Errorf("exitCode(%v) = %d, want %d", err, got, code)
		}
	}
	if got := exitCode(daemonError{startReport{Text: "x", Code: exitTransport}}); got != exitTransport {
		t.Errorf("what the daemon reported becomes %d, want %d", got, exitTransport)
	}
}

// TestFailures: the command line is right, and what it names is not there, or
// can't be used: always the same code.
func TestFailures(t *testing.T) {
	dir := t.TempDir()
	none := filepath.Join(dir, "none")
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, args := range [][]string{
		{"serve", "a=" + none},
		{"serve", "a=/dev/null"},
		{"serve", "--listen", taken.Addr().String(), "a=" + dir},
		{"serve", "--listen", "192.0.2.1:0", "--insecure", "a=" + dir},
		{"serve", "--tls-cert", none, "--tls-key", none, "--tls-ca", none, "a=" + dir},
		{"mount", none, dir},
		{"mount", "./" + none, dir},
		{"mount", dir, none},
		{"mount", "--tls-cert", none, "--tls-key", none, "--tls-ca", none, "127.0.0.1:1/x", dir},
		{"umount", none},
		{"stat", none},
		{"read", none},
		{"warm", none},
		{"bench", "loader", none, "--workload", "retinanet"},
		{"bench", "loader", "--make", "/dev/null/none", "--workload", "retinanet"},
	} {
		if code, _, stderr := command(t, args...); code != exitFailure || strings.Contains(stderr, "--help'.") {
			t.Errorf("hbmfs %q: exit code %d, %q; want %d", args, code, stderr, exitFailure)
		}
	}
}

func TestCompletionIsListed(t *testing.T) {
	if code, out, _ := command(t, "--help"); code != exitOK || !strings.Contains(out, "\n  completion ") {
		t.Errorf("hbmfs --help: exit code %d:\n%s", code, out)
	}
	if code, out, _ := command(t, "completion", "bash"); code != exitOK || !strings.Contains(out, "hbmfs") {
		t.Errorf("hbmfs completion bash: exit code %d, %d bytes", code, len(out))
	}
}

func TestHelpNamesExitCodesAndLog(t *testing.T) {
	if code, out, _ := command(t, "--help"); code != exitOK || !strings.Contains(out, "Exit codes:") {
		t.Errorf("hbmfs --help: exit code %d:\n%s", code, out)
	}
	if code, out, _ := command(t, "mount", "--help"); code != exitOK || !strings.Contains(out, "/var/log/hbmfs-") {
		t.Errorf("hbmfs mount --help: exit code %d:\n%s", code, out)
	}
}

func TestNotAMount(t *testing.T) {
	dir := t.TempDir()
	for _, args := range [][]string{{"umount", dir}, {"stat", dir}, {"read", dir}, {"warm", dir}, {"bench", "loader", dir, "--workload", "custom"}} {
		if code, _, stderr := command(t, args...); code != exitNotMount {
			t.Errorf("hbmfs %q: exit code %d, want %d: %s", args, code, exitNotMount, stderr)
		}
	}
}
