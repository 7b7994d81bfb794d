// Package tagged makes bytes that tell where they belong: each 8-byte word tells its file
// and its offset, so that no block is zero and no two are alike.
//
// It holds nothing, and no lock.
package tagged

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
)

// Write writes a file of a number and a size, in bytes. It is
// synced: no write-back runs beside the measurements. Its pages stay cached.
func Write(ctx context.Context, path string, file uint64, size int64) (err error) {
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
		Fill(buf, file, off)
		if _, err := f.Write(buf[:min(int64(len(buf)), size-off)]); err != nil {
			return err
		}
	}
	return f.Sync()
}

// Fill fills buf with the words of a file from off.
func Fill(buf []byte, file uint64, off int64) {
	for i := 0; i < len(buf); i += 8 {
		binary.LittleEndian.PutUint64(buf[i:], file<<48|uint64(off+int64(i)))
	}
}
