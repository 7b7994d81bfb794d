package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// availableMemory is what the kernel thinks can be used without swapping, in
// bytes.
func availableMemory() (int64, error) { return procField("/proc/meminfo", "MemAvailable") }

// residentMemory is a process's resident memory, in bytes.
func residentMemory(pid int) (int64, error) {
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
