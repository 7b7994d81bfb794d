// Package loader plays what data loaders do all day: the files and samples of
// known training workloads, in an order that is shuffled anew each epoch, by
// workers that prefetch batches for a consumer that computes. It makes data sets
// of those shapes, whose words tell where they belong, and measures what a mount
// makes of them.
//
// It never prints, and knows nothing of a command line. It touches nothing outside
// the directory that it makes a data set in, but for the mount of it that it may
// start, and ends.
//
// Locking: workers share atomics, channels and the table of open files, whose lock
// is never held over a call. All else belongs to one goroutine.
package loader

import (
	"math"
	"time"
)

// Workload is the shape of a data set, and how a training reads it. Shapes and
// times are those of DLIO's parameters, as github.com/mlcommons/storage has them in
// configs/dlio/workload; nothing else of that benchmark is here.
type Workload struct {
	Name   string
	Files  int
	Size   int64 // of a file, in bytes: the mean
	Spread int64 // the standard deviation of sizes; they stay within two of it
	Sample int64 // bytes; 0: a file is one sample
	// Anywhere: samples lie anywhere in a file, instead of one behind another, and
	// there are no more than one for each [stride].
	Anywhere bool
	Batch    int           // samples
	Compute  time.Duration // a batch; 0: as fast as samples come
	id       uint64        // in the words of files: 1 to 15
}

// Workloads are all that there are.
var Workloads = []Workload{
	{id: 1, Name: "retinanet", Files: 1_170_301, Size: 322_957, Batch: 24, Compute: 47_600 * time.Microsecond},
	{id: 2, Name: "resnet50", Files: 1024, Size: 1251 * 114_660, Sample: 114_660, Batch: 400, Compute: 224 * time.Millisecond},
	{id: 3, Name: "unet3d", Files: 7200, Size: 146_600_628, Spread: 68_341_808, Batch: 7, Compute: 162 * time.Millisecond},
	{id: 4, Name: "cosmoflow", Files: 524_288, Size: 2_828_486, Spread: 71_311, Batch: 1, Compute: 3500 * time.Microsecond},
	{id: 5, Name: "custom", Files: 1600, Size: 64 << 20, Sample: 128 << 10, Anywhere: true, Batch: 32},
}

// stride is for how many bytes of a file there is one sample that lies anywhere, at
// most: small ones touch a part of their file only.
const stride = 128 << 10

// MinFiles is the least number of files, whatever the scale.
const MinFiles = 8

// Scaled is w with that part of its files.
func (w Workload) Scaled(scale float64) Workload {
	w.Files = max(MinFiles, int(math.Round(float64(w.Files)*scale)))
	return w
}

// Batched is w with batches of n samples, and as much compute a sample as before.
func (w Workload) Batched(n int) Workload {
	w.Compute = time.Duration(float64(w.Compute) * float64(n) / float64(w.Batch))
	w.Batch = n
	return w
}

// samples is how many samples a file of that size has.
func (w Workload) samples(size int64) int {
	switch {
	case w.Sample == 0:
		return int(min(size, 1))
	case w.Anywhere && size >= w.Sample:
		return int(max(1, size/max(w.Sample, stride)))
	}
	return int(size / w.Sample)
}

// size is that of a file, by its number: the same on any machine, for any seed.
func (w Workload) size(file int) int64 {
	if w.Spread == 0 {
		return w.Size
	}
	return w.Size + int64(normal(mix(w.id, uint64(file)))*float64(w.Spread))
}

// normal is nearly normally distributed, with mean 0 and deviation 1, and within
// two: the sum of twelve uniform numbers, which any machine adds up to the same.
func normal(key uint64) float64 {
	sum := 0.0
	for i := range uint64(12) {
		sum += float64(mix(key, i)>>11) / (1 << 53)
	}
	return min(max(sum-6, -2), 2)
}

// mix is a number that looks random, of two that need not (SplitMix64's finalizer).
func mix(a, b uint64) uint64 {
	x := a*0x9e3779b97f4a7c15 + b + 0x9e3779b97f4a7c15
	for range 2 {
		x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
		x = (x ^ x>>27) * 0x94d049bb133111eb
		x ^= x >> 31
	}
	return x
}
