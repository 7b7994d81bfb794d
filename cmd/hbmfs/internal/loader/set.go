package loader

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"sort"
)

// Set is a data set: files below a directory, of which samples are taken.
type Set struct {
	Workload Workload
	Dir      string // the files' names are below it
	Files    []File
	// Tagged: [Make] made it, so that its words tell where they belong.
	Tagged bool
	Found  int // files that there are to take some of

	first []int // the number of each file's first sample, and at last of all samples
}

// File is one of a data set's.
type File struct {
	Name string // below the set's directory
	Size int64  // bytes
}

// Sample is a range of one of a set's files.
type Sample struct {
	File     int
	Off, Len int64 // bytes
}

// ErrNoSet: there is nothing to read that has the shape of the workload.
var ErrNoSet = errors.New("no data set")

// newSet counts samples.
func newSet(w Workload, dir string, files []File, tagged bool, found int) (*Set, error) {
	s := &Set{Workload: w, Dir: dir, Files: files, Tagged: tagged, Found: found, first: make([]int, 1, len(files)+1)}
	for _, f := range files {
		s.first = append(s.first, s.Samples()+w.samples(f.Size))
	}
	switch n := s.Samples(); {
	case n == 0:
		return nil, fmt.Errorf("%w: no file below %s has a sample of %s", ErrNoSet, dir, w.Name)
	case n > math.MaxUint32:
		return nil, fmt.Errorf("%d samples are more than can be shuffled; take fewer files, or larger samples", n)
	}
	return s, nil
}

// Samples is how many there are.
func (s *Set) Samples() int { return s.first[len(s.first)-1] }

// Bytes is how many bytes the files have.
func (s *Set) Bytes() (n int64) {
	for _, f := range s.Files {
		n += f.Size
	}
	return n
}

// SampleBytes is how many bytes all samples have.
func (s *Set) SampleBytes() int64 {
	if s.Workload.Sample > 0 {
		return int64(s.Samples()) * s.Workload.Sample
	}
	return s.Bytes()
}

// Sample is the one of that number. Where samples lie anywhere, the seed says
// where; they are the same in each epoch.
func (s *Set) Sample(number int, seed uint64) Sample {
	file := sort.SearchInts(s.first, number+1) - 1
	at, size, w := number-s.first[file], s.Files[file].Size, s.Workload
	switch {
	case w.Sample == 0:
		return Sample{file, 0, size}
	case w.Anywhere:
		room := uint64(size-w.Sample) + 1
		return Sample{file, int64(mix(mix(seed, uint64(file)), uint64(at)) % room), w.Sample}
	}
	return Sample{file, int64(at) * w.Sample, w.Sample}
}

// path is where a file is, with the set's directory at dir.
func (s *Set) path(dir string, file int) string { return filepath.Join(dir, s.Files[file].Name) }
