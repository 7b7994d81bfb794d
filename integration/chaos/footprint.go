package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// usage is what a mount and its target have while nobody uses them.
type usage struct{ mount, target footprint }

// footprint is a process's.
type footprint struct {
	files, sockets int // descriptors; of files, those that are no sockets
	threads        int
	rss            int64
}

func (f footprint) String() string {
	return fmt.Sprintf("%d descriptors and %d sockets, %d threads, %.1f MiB resident", f.files, f.sockets, f.threads, float64(f.rss)/(1<<20))
}

func footprintOf(pid int) (f footprint) {
	for _, to := range descriptors(pid) {
		if strings.HasPrefix(to, "socket:") {
			f.sockets++
		} else {
			f.files++
		}
	}
	f.threads = threadsOf(pid)
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid)) // of one that has ended: nothing
	if _, rest, ok := bytes.Cut(status, []byte("\nVmRSS:")); ok {
		kib, _ := strconv.ParseInt(string(bytes.Fields(rest)[0]), 10, 64)
		f.rss = kib << 10
	}
	return f
}

// openBelow is how many files below a directory a process has open.
func openBelow(pid int, dir string) (n int) {
	for _, to := range descriptors(pid) {
		if strings.HasPrefix(to, dir+"/") {
			n++
		}
	}
	return n
}

// descriptors are what those of a process lead to.
func descriptors(pid int) (all []string) {
	names, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	for _, name := range names {
		if to, err := os.Readlink(name); err == nil {
			all = append(all, to)
		}
	}
	return all
}

func threadsOf(pid int) int {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
	return len(tasks)
}

// shared is how many descriptors a process has of what it may share with programs, or has
// for a ring: memory, but for regions, eventfds, and epolls.
func shared(pid int) (n int) {
	for _, to := range descriptors(pid) {
		if strings.HasPrefix(to, "/memfd:") && !strings.HasPrefix(to, "/memfd:hbmfs-region") ||
			to == "anon_inode:[eventfd]" || to == "anon_inode:[eventpoll]" {
			n++
		}
	}
	return n
}

// checkDescriptors finds those that a mount still has of rings and buffers.
func (s *stage) checkDescriptors() {
	is := 0
	for began := time.Now(); time.Since(began) < releaseLimit; time.Sleep(poll) {
		if is = shared(s.mount.PID()); is <= s.shared {
			return
		}
	}
	s.wrong("the mount has %d descriptors of memory, eventfds and epolls, and had %d before anybody came", is, s.shared)
}
