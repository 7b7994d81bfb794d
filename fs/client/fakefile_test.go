package client

import (
	"encoding/binary"
	"os"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"hbmfs/fs/uapi"
)

// fakeFile stands for an open file of a mount: answer gets the argument of each
// ioctl and overwrites it, as the kernel would.
type fakeFile struct {
	answer func(cmd uint32, arg []byte) syscall.Errno
	closed bool
}

func (f *fakeFile) ioctl(c *call) (syscall.Errno, error) {
	if f.closed {
		return 0, ErrClosed
	}
	return f.answer(c.cmd, c.arg), nil
}

func (f *fakeFile) Close() error {
	if f.closed {
		return os.ErrClosed
	}
	f.closed = true
	return nil
}

func newFakeFile(answer func(cmd uint32, arg []byte) syscall.Errno) *File {
	return &File{path: "/mnt/data/a", sys: &fakeFile{answer: answer}, mount: &Mount{root: "/mnt/data"}}
}

// fails answers everything with errno.
func fails(errno syscall.Errno) func(uint32, []byte) syscall.Errno {
	return func(uint32, []byte) syscall.Errno { return errno }
}

const (
	fakeExtent = 1 << 20
	fakeSize   = 10*fakeExtent + 123
	fakeRegion = 5
)

// fakeFetch answers FETCH as a mount does that has a file of fakeSize bytes, of
// which extent i is at i extents into region fakeRegion.
func fakeFetch(t *testing.T, cmd uint32, arg []byte) syscall.Errno {
	f, room, err := uapi.DecodeFetch(cmd, arg)
	if err != nil {
		t.Errorf("the client asked what the ABI refuses: %v", err)
		return syscall.EINVAL
	}
	end := min(f.Offset+f.Length, fakeSize)
	off := f.Offset
	f.FileSize, f.Path, f.Why = fakeSize, uint32(uapi.PathStaged), uint32(uapi.WhyNoDirect)
	for off < end && int(f.SegmentCount) < room {
		n := min(end-off, fakeExtent-off%fakeExtent)
		uapi.EncodeSegment(arg, &f, int(f.SegmentCount), uapi.Segment{Region: fakeRegion, RegionOffset: off,
			FileOffset: off, Length: n, Path: uint16(uapi.PathStaged), Flags: uapi.SegmentHit})
		f.SegmentCount++
		off += n
	}
	if off > f.Offset {
		f.Fetched, f.Handle = off-f.Offset, 77
	}
	if off < end {
		f.Cursor = off
	}
	uapi.EncodeFetch(arg, &f)
	return 0
}

// blockUntilSignal is a system call that only a signal ends, and never without
// EINTR: what a FETCH from a stalled target is.
func blockUntilSignal() syscall.Errno {
	_, _, errno := syscall.Syscall6(unix.SYS_PPOLL, 0, 0, 0, 0, 0, 0)
	return errno
}

const memfdName = "hbmfs-client-test"

// newMemfd returns a descriptor of n bytes, each 8-byte word of which says which
// region it is of and where.
func newMemfd(t *testing.T, region uint32, n int) int {
	t.Helper()
	fd, err := unix.MemfdCreate(memfdName, unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if _, err := unix.Pwrite(fd, tagged(region, 0, n), 0); err != nil {
		t.Fatal(err)
	}
	return fd
}

// tagged is n bytes from off of the content of a test region. Both are
// multiples of 8.
func tagged(region uint32, off, n int) []byte {
	b := make([]byte, 0, n)
	for at := off; at < off+n; at += 8 {
		b = binary.NativeEndian.AppendUint64(b, uint64(region)<<32|uint64(at))
	}
	return b
}

// sameMemory reports whether two slices start at the same address.
func sameMemory(a, b []byte) bool { return unsafe.SliceData(a) == unsafe.SliceData(b) }
