package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"syscall"
	"time"
	"unsafe"

	"hbmfs/fs/uapi"
)

// Calls whose median one measurement is.
const ioctlCalls = 20000

// noopPair measures two ioctls that do nothing, with the sizes of a FETCH that
// has room for so many segments and of a RELEASE: the median in seconds.
func noopPair(f *os.File, capacity int) measure {
	fetch, release := make([]byte, uapi.FetchLen(capacity)), make([]byte, uapi.ReleaseSize)
	return medianTime(func() error {
		if err := ioctl(f, uapi.IocFetch(capacity), fetch); err != nil {
			return err
		}
		return ioctl(f, uapi.IocRelease, release)
	})
}

// medianTime measures the median duration of a call, in seconds.
func medianTime(call func() error) measure {
	took := make([]time.Duration, ioctlCalls)
	return func(ctx context.Context) (float64, error) {
		for i := range took {
			began := time.Now()
			if err := call(); err != nil {
				return 0, err
			}
			took[i] = time.Since(began)
		}
		slices.Sort(took)
		return took[len(took)/2].Seconds(), context.Cause(ctx)
	}
}

// ioctl passes arg, whose length cmd tells, to an open file.
func ioctl(f *os.File, cmd uint32, arg []byte) error {
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), uintptr(cmd), uintptr(unsafe.Pointer(&arg[0])))
	if errno != 0 {
		return fmt.Errorf("ioctl %#x on %s: %w", cmd, f.Name(), errno)
	}
	return nil
}
