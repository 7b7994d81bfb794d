package loader

import (
	"time"

	"hbmfs/fs/client"
	"hbmfs/fs/uapi"
)

// tally adds up what samples were.
type tally struct {
	samples, bytes int64
	took           []time.Duration // by each sample
	segments, hits int64
	unsettled      int64 // pieces of which nothing stays in device memory
	fetched        bool  // path and why are set
	path           uapi.Path
	why            uapi.Reason
}

// lease counts one FETCH.
func (t *tally) lease(l *client.Lease) {
	t.bytes += l.Fetched
	t.segments += int64(len(l.Segments))
	for _, s := range l.Segments {
		if s.Hit {
			t.hits++
		}
	}
	if l.Unsettled {
		t.unsettled++
	}
	t.least(l.Path, l.Why)
}

// least keeps the least direct path.
func (t *tally) least(path uapi.Path, why uapi.Reason) {
	if !t.fetched || path < t.path {
		t.path, t.why, t.fetched = path, why, true
	}
}

func (t *tally) add(o *tally) {
	t.samples += o.samples
	t.took = append(t.took, o.took...)
	t.bytes += o.bytes
	t.segments += o.segments
	t.hits += o.hits
	t.unsettled += o.unsettled
	if o.fetched {
		t.least(o.path, o.why)
	}
}
