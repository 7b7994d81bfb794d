package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"hbmfs/fs/client"
	"hbmfs/transport"
)

// asProgram makes the test binary be hbmfs, for tests that need a process.
const asProgram = "HBMFS_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
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
		{"mount", dir},
		{"mount", "nowhere", dir},
		{"mount", "--pool", "1 GiB", dir, dir},
		{"mount", "--pool", "1M", "--extent", "2M", "./x", dir},
		{"mount", "--extent", "3M", "./x", dir},
		{"mount", "--checksums", "yes", "./x", dir},
		{"mount", "--connections", "0", "./x", dir},
		{"mount", dir, dir},
		{"umount"},
		{"umount", dir, dir},
		{"read"},
		{"read", "--range", "7", dir},
		{"stat"},
		{"doctor", "x"},
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
	for _, args := range [][]string{{"umount", dir}, {"stat", dir}, {"read", dir}} {
		if code, _, stderr := command(t, args...); code != exitNotMount {
			t.Errorf("hbmfs %q: exit code %d, want %d: %s", args, code, exitNotMount, stderr)
		}
	}
}
