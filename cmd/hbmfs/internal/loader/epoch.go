package loader

import (
	"slices"
	"time"
)

// Epoch is what came of one epoch, or of all by one way. Pointers are nil where
// there is nothing to tell.
type Epoch struct {
	Via              string  `json:"via"`
	Epoch            int     `json:"epoch"` // 0: all of them
	Samples          int64   `json:"samples"`
	Bytes            int64   `json:"bytes"` // of samples
	Seconds          float64 `json:"seconds"`
	SamplesPerSecond float64 `json:"samples_per_second"`
	MBps             float64 `json:"mb_per_second"` // of 10^6 bytes
	P50              float64 `json:"p50_ms"`        // of a sample, from its open to its close
	P99              float64 `json:"p99_ms"`
	Segments         int64   `json:"segments"` // that FETCH told of
	Hits             int64   `json:"hits"`     // of those, in device memory already
	// HitRatio is hits a segment; nil where FETCH is not used.
	HitRatio *float64 `json:"hit_ratio"`
	Brought  int64    `json:"brought_bytes"` // by the mount's transports, for whomever
	// Amplification is what was brought for each byte of samples.
	Amplification float64 `json:"amplification"`
	// AU is the part of the time in which the accelerator would compute; nil if it
	// does not.
	AU        *float64 `json:"au"`
	Path      string   `json:"path,omitempty"` // the least direct, of FETCH
	Reason    string   `json:"reason,omitempty"`
	Unsettled int64    `json:"unsettled"` // FETCHes of what may change: it does not stay in device memory

	sum            tally
	device         bool // the way's
	batches        int
	compute, total time.Duration
	brought        int64
}

// All adds up epochs of one way.
func All(epochs []Epoch) Epoch {
	all := Epoch{Via: epochs[0].Via, device: epochs[0].device, compute: epochs[0].compute}
	for i := range epochs {
		e := &epochs[i]
		all.sum.add(&e.sum)
		all.batches += e.batches
		all.total += e.total
		all.brought += e.brought
	}
	return all.finish()
}

// finish works out what is told.
func (e Epoch) finish() Epoch {
	e.Samples, e.Bytes, e.Segments, e.Hits, e.Brought, e.Unsettled = e.sum.samples, e.sum.bytes, e.sum.segments, e.sum.hits, e.brought, e.sum.unsettled
	e.Seconds = e.total.Seconds()
	if e.Seconds > 0 {
		e.SamplesPerSecond = float64(e.Samples) / e.Seconds
		e.MBps = float64(e.Bytes) / e.Seconds / 1e6
		if e.compute > 0 {
			au := float64(e.batches) * e.compute.Seconds() / e.Seconds
			e.AU = &au
		}
	}
	if e.Bytes > 0 {
		e.Amplification = float64(e.brought) / float64(e.Bytes)
	}
	if e.device && e.Segments > 0 {
		ratio := float64(e.Hits) / float64(e.Segments)
		e.HitRatio = &ratio
		e.Path, e.Reason = e.sum.path.String(), e.sum.why.String()
	}
	slices.Sort(e.sum.took)
	e.P50, e.P99 = quantile(e.sum.took, 0.50), quantile(e.sum.took, 0.99)
	return e
}

// quantile is in milliseconds, by nearest rank. sorted is ascending.
func quantile(sorted []time.Duration, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	at := min(len(sorted)-1, int(q*float64(len(sorted))))
	return float64(sorted[at]) / float64(time.Millisecond)
}
