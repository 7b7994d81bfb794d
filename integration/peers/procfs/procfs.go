// Package procfs tells what processes take of this host.
//
// It holds nothing, and no lock.
package procfs

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// AvailableMemory is what the kernel thinks can be used without swapping, in
// bytes.
func AvailableMemory() (int64, error) { return procField("/proc/meminfo", "MemAvailable") }

// ResidentMemory is a process's resident memory, in bytes.
func ResidentMemory(pid int) (int64, error) {
	return procField(fmt.Sprintf("/proc/%d/status", pid), "VmRSS")
}

// procField reads one "Name:  123 kB" line of a file in /proc.
func procField(path, name string) (int64, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	n, err := parseField(string(text), name)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	return n, nil
}

func parseField(text, name string) (int64, error) {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("no field %s", name)
}

// CPU is the CPU time of a process so far, all of its threads together.
func CPU(pid int) (time.Duration, error) {
	// clock_getcpuclockid(3): the number of a process's clock.
	const cpuClockSched = 2
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|cpuClockSched), &ts); err != nil {
		return 0, fmt.Errorf("CPU time of process %d: %w", pid, err)
	}
	return time.Duration(ts.Nano()), nil
}
