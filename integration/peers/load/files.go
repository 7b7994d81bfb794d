package load

import "fmt"

// File is the name of the file that samples are of.
const File = "file"

// Sizes of a dataset's files, in bytes: from LeastSize on, less than MostSize, and
// 112 KiB on average.
const (
	LeastSize = 96 << 10
	MostSize  = 128 << 10
)

// Name is the name of a dataset's file i.
func Name(i int) string { return fmt.Sprintf("sample-%05d", i) }

// Size is the size of file i, in bytes: a multiple of 8, different from that of its
// neighbours.
func Size(i int) int64 { return LeastSize + int64(i)*7919*8%(MostSize-LeastSize) }
