package loader

import (
	"context"
	"io"
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
	{Name: "read", begin: beginReading, About: "opens the file, and preads the sample into a buffer of host memory"},
}

// epochReader gets the samples of an epoch. Close ends what it keeps open, after
// its workers' ends.
type epochReader interface {
	worker() sampleReader
	io.Closer
}

// sampleReader is one worker's. get counts into it what it did, and close ends what
// it holds.
type sampleReader interface {
	get(ctx context.Context, s Sample, all bool) error
	tally() *tally
	io.Closer
}
