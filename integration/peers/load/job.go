// Package load is the client that `make bench` measures loaders by: a program of its
// own beside the bench, the same for each side of a row, which takes files or
// samples of a mount by several threads. [Hire] starts it, [Run] is it.
//
// It owns the processes that it starts until [Crew.Dismiss]. It mounts nothing, and
// looks at no byte that comes.
//
// Locking: the threads of a worker share atomics only.
package load

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// Command makes the bench, which passes its arguments to [Run], a client of a mount, in a process of its own: the
// same program for each side of a row.
const Command = "work"

// Kind is what a worker does.
type Kind string

const (
	FetchFiles   Kind = "fetch-files"   // open, FETCH of all, close; of each file of a dataset
	ReadFiles    Kind = "read-files"    // open, read of all, close
	FetchSamples Kind = "fetch-samples" // FETCH of random ranges of one file
	ReadSamples  Kind = "read-samples"  // pread of them
	FetchHits    Kind = "fetch-hits"    // FETCH and RELEASE of one resident range, again and again

	BatchFiles  Kind = "batch-files"  // BATCH of all of many files, by name
	RingFiles   Kind = "ring-files"   // FETCH of all of each file, by name, by a ring
	RingSamples Kind = "ring-samples" // FETCH of random ranges of one file, by a ring
	RingInto    Kind = "ring-into"    // FETCH_INTO of them, into memory of the worker's, by a ring
	RingHits    Kind = "ring-hits"    // FETCH of one resident range, by a ring, each with the RELEASE of one before
)

// fetches reports whether it takes an hbmfs mount.
func (k Kind) fetches() bool {
	return slices.Contains([]Kind{FetchFiles, FetchSamples, FetchHits, BatchFiles, RingFiles, RingSamples, RingInto, RingHits}, k)
}

// Job is the work of one worker, as its argument has it in JSON.
type Job struct {
	Kind    Kind
	Dir     string // of the mount
	Threads int
	Depth   int    `json:",omitempty"` // operations that a thread has under way by a ring, or ranges of its BATCH
	Count   int    `json:",omitempty"` // of the dataset's files, or of samples
	Seed    uint64 `json:",omitempty"` // of their order; 0: as they are numbered
	Length  int64  `json:",omitempty"` // of a sample, in bytes
	Offset  int64  `json:",omitempty"` // of the resident range
	// For is how long calls for the resident range are made.
	For time.Duration `json:",omitempty"`
}

// Report is what a worker found out, as it prints it in JSON.
type Report struct {
	Items       int64         // files, samples or calls
	Bytes, Hits int64         // that came; that were in the pool, of those
	Took        time.Duration // from the first call to the last
	CPU         time.Duration // of the worker meanwhile
}

// Add adds what another worker, or another run, found out.
func (r *Report) Add(o Report) {
	r.Items += o.Items
	r.Bytes += o.Bytes
	r.Hits += o.Hits
	r.Took += o.Took
	r.CPU += o.CPU
}

// decodeReport reads the report out of what a worker printed.
func decodeReport(output string) (r Report, err error) {
	if err := json.Unmarshal([]byte(output), &r); err != nil {
		return r, fmt.Errorf("a worker's report %q: %w", output, err)
	}
	if r.Items <= 0 || r.Took <= 0 {
		return r, fmt.Errorf("a worker's report %q says that it did nothing", output)
	}
	return r, nil
}

// order is the order in which a job's files or samples come.
func (j Job) order() []int {
	order := make([]int, j.Count)
	for i := range order {
		order[i] = i
	}
	if j.Seed != 0 {
		rand.New(rand.NewPCG(j.Seed, 0)).Shuffle(len(order), func(a, b int) {
			order[a], order[b] = order[b], order[a]
		})
	}
	return order
}

// sampleSpacing is how much of the file a sample has to itself, in bytes: no two
// share an extent of 1 MiB, wherever they begin.
const sampleSpacing = 2 << 20

// SamplesIn is how many samples a file of so many bytes has room for.
func SamplesIn(size int64) int { return int(size / sampleSpacing) }

// sampleOffset is where sample i begins, in bytes: at a place of no alignment.
func (j Job) sampleOffset(i int) int64 {
	at := rand.New(rand.NewPCG(j.Seed, uint64(i))).Int64N(sampleSpacing - j.Length)
	return int64(i)*sampleSpacing + at | 1
}
