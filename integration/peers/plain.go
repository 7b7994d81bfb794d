package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// sequentialRead reads the whole file as dd does, 1 MiB at a time by one reader,
// and returns bytes a second.
func (s *stage) sequentialRead(ctx context.Context, path string) (float64, error) {
	return readRange(ctx, path, 0, s.size, 1<<20)
}

// readRange reads [off, off+length) in requests of one size by one reader, and
// returns bytes a second.
func readRange(ctx context.Context, path string, off, length, request int64) (_ float64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	buf := make([]byte, request)
	began := time.Now()
	for at := off; at < off+length; at += request {
		n, err := f.ReadAt(buf[:min(request, off+length-at)], at)
		if errors.Is(err, io.EOF) {
			return 0, fmt.Errorf("%s ends at %d", path, at+int64(n))
		}
		if err = errors.Join(err, context.Cause(ctx)); err != nil {
			return 0, err
		}
	}
	return float64(length) / time.Since(began).Seconds(), nil
}
