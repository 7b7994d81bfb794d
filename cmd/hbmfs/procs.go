package main

import (
	"os"
	"runtime"
)

// minProcs is the least GOMAXPROCS of a mount's daemon.
const minProcs = 8

// widen raises GOMAXPROCS for a daemon that spends its time blocked in the
// kernel, in reads of /dev/fuse and of sockets. The runtime sees too late that
// such a goroutine blocks, and until then it holds one of the processors that
// others wait for; with as many as there are CPUs, all of them may be held while
// the CPUs idle. GOMAXPROCS in the environment is the user's word.
func widen() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(max(minProcs, 2*runtime.GOMAXPROCS(0)))
	}
}
