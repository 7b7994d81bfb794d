package fs

import (
	"context"
	"fmt"

	"github.com/hanwen/go-fuse/v2/fuse"

	"hbmfs/transport/limits"
	"hbmfs/transport/logging"
)

// bounds are what the users of a mount may have of it. Digests, plain reads and entries
// of batches wait their turn, user by user; clients of the control socket are refused;
// what there is no room for is not read ahead.
type bounds struct {
	ctl     *limits.Limit
	digests *limits.Limit // under way
	reads   *limits.Limit // likewise
	ahead   *limits.Limit // bytes
	batches *limits.Limit // entries under way, and operations of rings
	rings   *limits.Limit
}

func newBounds(log *logging.Limiter) bounds {
	limit := func(what string, all, each int64, remedy string) *limits.Limit {
		return limits.New(limits.Config{What: what, All: all, Each: each, Remedy: remedy, Log: log})
	}
	return bounds{
		ctl:     limit("clients of the control socket", 1024, 256, "close some"),
		digests: limit("digests", 32, 0, "ask for fewer at a time"),
		reads:   limit("plain reads", 512, 0, "read less at a time"),
		ahead:   limit("bytes read ahead", 64<<20, 16<<20, "read fewer files at a time"),
		batches: limit("entries of batches", 4096, 0, "ask for fewer at a time"),
		rings:   limit("entries of rings", 1024*256, 256*256, "close some, or make smaller ones"),
	}
}

// userOf names who makes a request.
func userOf(ctx context.Context) string {
	if caller, ok := fuse.FromContext(ctx); ok {
		return userName(caller.Uid)
	}
	return userName(0)
}

func userName(uid uint32) string { return fmt.Sprintf("uid %d", uid) }
