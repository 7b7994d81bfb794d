package server

import (
	"log/slog"
	"math"
	"runtime"

	"golang.org/x/sys/unix"

	"hbmfs/transport/limits"
	"hbmfs/transport/logging"
)

// What a target has for all its mounts together, where descriptors don't bound it.
const (
	maxSessions = 4096
	maxDigests  = 1024    // asked for, most of them waiting
	maxHandles  = 1 << 22 // of files
	minGreeting = 16      // a mount greets with all its connections at once
	maxGreeting = 256
	maxConns    = 4096    // of a kind
	maxStaged   = 1 << 29 // bytes
	maxCalls    = 1024    // under way; each can take a thread
)

// bounds are what clients may have of a target. See package limits for what of it
// one may.
type bounds struct {
	sessions *limits.Limit
	greeting *limits.Limit // connections that have not proved themselves
	control  *limits.Limit // connections
	data     limits.Data
	files    *charges
	handles  *limits.Limit // of open files
	names    *limits.Limit // that are delegated
	calls    *limits.Limit // that need descriptors, under way
	digests  *limits.Limit
	hashing  *limits.Limit // of a piece of a file, at a time
}

// newBounds divides the descriptors: those that connections don't take are for
// open files, but for an eighth, of which calls under way have half, at two each, and
// direct reads and delegated names the other.
func newBounds(descriptors int64, log *logging.Limiter) *bounds {
	limit := func(what string, all int64, remedy string) *limits.Limit {
		return limits.New(limits.Config{What: what, All: all, Remedy: remedy, Log: log})
	}
	const more = "close some, or raise the target's limit of descriptors (ulimit -n, or LimitNOFILE= in the unit)"
	b := &bounds{
		sessions: limit("sessions", maxSessions, "end mounts that are not needed"),
		greeting: limit("connections that have not said who they are", max(minGreeting, min(descriptors/8, maxGreeting)), "let them say so, or close them"),
		control:  limit("control connections", min(descriptors/8, maxConns), more),
		data: limits.Data{
			Connections: limit("data connections", min(descriptors/4, maxConns), more),
			Staging:     limit("bytes of staging memory", maxStaged, "take in what was asked for"),
		},
		handles: limit("handles of open files", maxHandles, "close some"),
		names:   limit("delegated names", max(2, descriptors/32), more),
		calls:   limit("calls", max(4, min(descriptors/32, maxCalls)), "make fewer at a time"),
		digests: limit("digests", maxDigests, "ask for fewer at a time"),
		hashing: limit("pieces that are being hashed", int64(max(4, 2*runtime.GOMAXPROCS(0))), "wait"),
	}
	left := descriptors - descriptors/8 - min(descriptors/8, maxGreeting) - b.control.All - b.data.Connections.All
	b.files = newCharges(limit("open files", left, more))
	return b
}

// raiseDescriptors raises this process's limit of descriptors to what it may be,
// and returns that.
func raiseDescriptors(log *slog.Logger) int64 {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		const usual = 1024
		log.Warn("the limit of descriptors is not known", "err", err, "taken_for", usual)
		return usual
	}
	raised := unix.Rlimit{Cur: limit.Max, Max: limit.Max}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &raised); err == nil {
		limit = raised
	}
	n := int64(min(limit.Cur, math.MaxInt32))
	log.Info("descriptors", "limit", n)
	return n
}
