package loader

import (
	"context"
	"io"
	"time"
)

// Way is a way for a loader to get a sample.
type Way struct {
	Name   string
	About  string // what it does for each sample, for --help
	device bool   // samples come into device memory
	// begin is for one epoch of one mount.
	begin func(*playing) epochReader
}

// Ways are all that there are, in the order in which they take turns.
var Ways = []Way{
	{Name: "ioctl", device: true, begin: beginFetching, About: "opens the file, FETCHes the sample into device memory, and takes the handle"},
	{Name: "batch", device: true, begin: beginBatching, About: "asks for the samples of a batch by name, by BATCH on their directory, and takes the handle"},
	{Name: "ring", device: true, begin: beginRinging, About: "asks for the sample by name, by a ring with 64 under way, and takes the handle"},
	{Name: "read", begin: beginReading, About: "opens the file, and preads the sample into a buffer of host memory"},
}

// epochReader gets the samples of an epoch. Close ends what it keeps open, after
// its workers' ends.
type epochReader interface {
	worker() sampleReader
	io.Closer
}

// sampleReader is one worker's.
type sampleReader interface {
	// get gets a batch, and counts what it did.
	get(ctx context.Context, batch []wanted) error
	tally() *tally
	io.Closer // ends what it holds
}

// wanted is a sample that is to be got.
type wanted struct {
	Sample
	all bool // compare all words of it
}

// oneByOne gets the samples of a batch by a call each, which are timed.
func oneByOne(ctx context.Context, batch []wanted, t *tally, get func(context.Context, wanted) error) error {
	for _, s := range batch {
		began := time.Now()
		if err := get(ctx, s); err != nil {
			return err
		}
		t.samples++
		t.took = append(t.took, time.Since(began))
	}
	return nil
}
