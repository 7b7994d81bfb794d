package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"syscall"
)

// writeTagged writes a file of which each 8-byte word tells the file and the
// word's offset, so that no block of it is zero and no two are alike. It is
// synced: no write-back runs beside the measurements. Its pages stay cached.
func writeTagged(ctx context.Context, path string, file uint64, size int64) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	buf := make([]byte, 1<<20)
	for off := int64(0); off < size; off += int64(len(buf)) {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		tag(buf, file, off)
		if _, err := f.Write(buf[:min(int64(len(buf)), size-off)]); err != nil {
			return err
		}
	}
	return f.Sync()
}

// tag fills buf with the words of a file from off.
func tag(buf []byte, file uint64, off int64) {
	for i := 0; i < len(buf); i += 8 {
		binary.LittleEndian.PutUint64(buf[i:], file<<48|uint64(off+int64(i)))
	}
}

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
	free, err := availableMemory()
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
	free, err := availableMemory()
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
