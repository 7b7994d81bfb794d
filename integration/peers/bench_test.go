package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"

	"go.uber.org/goleak"

	"hbmfs/integration/peers/load"
)

// TestMain is a worker too, as the bench is.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == load.Command {
		if err := load.Run(os.Args[2], os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

func TestFormatSize(t *testing.T) {
	for n, want := range map[int64]string{2 << 30: "2 GiB", 512 << 20: "512 MiB", 4096: "4 KiB", 123: "123", 0: "0"} {
		if got := formatSize(n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}

func TestUndoRunsLastFirstAndPastErrors(t *testing.T) {
	var u undo
	var ran []int
	boom := errors.New("boom")
	for i := range 3 {
		u.add(func() error {
			ran = append(ran, i)
			if i == 1 {
				return boom
			}
			return nil
		})
	}
	if err := u.run(); !errors.Is(err, boom) {
		t.Errorf("run: %v, want boom", err)
	}
	if err := u.run(); err != nil || !slices.Equal(ran, []int{2, 1, 0}) {
		t.Errorf("ran %v, error %v; want each step once, last first", ran, err)
	}
}

func TestPeersReports(t *testing.T) {
	if rate, err := iperfRate([]byte(`{"end":{"sum_received":{"bits_per_second":8e9}}}`)); rate != 1e9 || err != nil {
		t.Errorf("iperf3: %v, error %v; want 1e9", rate, err)
	}
	if rate, err := fioRate([]byte(`{"jobs":[{"read":{"iops":1500.5}}]}`)); rate != 1500.5 || err != nil {
		t.Errorf("fio: %v, error %v; want 1500.5", rate, err)
	}
	for _, bad := range []string{"", "{}", `{"end":{}}`, `{"jobs":[]}`} {
		if rate, err := iperfRate([]byte(bad)); err == nil {
			t.Errorf("iperf3 %q: %v, want an error", bad, rate)
		}
		if rate, err := fioRate([]byte(bad)); err == nil {
			t.Errorf("fio %q: %v, want an error", bad, rate)
		}
	}
}

func TestMissingToolsNamesPackagesOnce(t *testing.T) {
	t.Setenv("PATH", "")
	got := missingTools([]string{nbdcopyTool, "/proc/self/exe", nbdfuseTool, sshfsTool})
	if want := "nbdcopy, nbdfuse, sshfs not installed: apt-get install libnbd-bin sshfs"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := missingTools(nil); got != "" {
		t.Errorf("got %q for no tools", got)
	}
}

func TestSweepRangesAreApart(t *testing.T) {
	const size = 512 << 20
	end := int64(0)
	for i, request := range requestSizes {
		off, length := sweepRange(size, i)
		if off < end || length < request || length%request != 0 || off%extent != 0 {
			t.Errorf("requests of %d: [%d, +%d) after %d", request, off, length, end)
		}
		end = off + length + sweepGap
	}
	if end-sweepGap > size {
		t.Errorf("the last range ends at %d of %d", end-sweepGap, size)
	}
}
