package main

import (
	"fmt"
	"os"
	"syscall"

	"hbmfs/integration/peers/procfs"
)

// checkRoom refuses a run that would fill the disk, or whose file would not stay
// in the page cache beside a pool and the bench's own copy of one.
func checkRoom(size int64) error {
	dir := os.TempDir()
	const slack = 1 << 30
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return fmt.Errorf("statfs %s: %w", dir, err)
	}
	if free, need := int64(st.Bavail)*st.Bsize, size+poolSize+slack; free < need {
		return roomError("disk space in "+dir, free, need)
	}
	free, err := procfs.AvailableMemory()
	if err != nil {
		return err
	}
	if need := size + 3*poolSize + slack; free < need {
		return roomError("memory", free, need)
	}
	return nil
}

// loaderRoom is how many files the dataset for loaders has: fewer where memory or
// disk would not hold them beside the rest.
func loaderRoom(o options) (int, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(os.TempDir(), &st); err != nil {
		return 0, fmt.Errorf("statfs %s: %w", os.TempDir(), err)
	}
	free, err := procfs.AvailableMemory()
	if err != nil {
		return 0, err
	}
	return loaderFilesIn(min(free, int64(st.Bavail)*st.Bsize)-o.size-poolSize, o.quick), nil
}

// loaderFilesIn is the most files that so much room allows, and some at least.
func loaderFilesIn(room int64, quick bool) int {
	files := loaderFiles
	if quick {
		files = quickFiles
	}
	for files > leastFiles && (dataset{files: files}).needs() > room {
		files /= 2
	}
	return files
}

func roomError(what string, have, need int64) error {
	return fmt.Errorf("not enough %s: %d MiB free, %d MiB needed; take --quick or another TMPDIR", what, have>>20, need>>20)
}
