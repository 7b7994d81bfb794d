package main

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"hbmfs/cmd/hbmfs/internal/mounts"
	"hbmfs/remote"
)

// explainEIO adds to an EIO of a file, which is all that the kernel passes on,
// that its mount's target is away, if that is so.
func explainEIO(err error, file string) error {
	if !errors.Is(err, unix.EIO) {
		return err
	}
	if away, ok := targetAway(file); ok {
		return fmt.Errorf("%w; %s", err, describeAway(away))
	}
	return err
}

// targetAway asks the mount that a file lies in whether its target is away.
func targetAway(file string) (remote.Stats, bool) {
	w, err := mounts.Walk(file)
	if err != nil || !w.Ours {
		return remote.Stats{}, false
	}
	raw, err := rawStats(w.Place)
	if err != nil {
		return remote.Stats{}, false
	}
	s, err := parseStats(raw)
	return s.Target, err == nil && s.Target.AwaySince != nil
}

func describeAway(r remote.Stats) string {
	return fmt.Sprintf("target %s is unreachable since %s (%v): %s", r.Addr, r.AwaySince.Local().Format(time.DateTime),
		time.Since(*r.AwaySince).Round(time.Second), r.AwayWhy)
}
