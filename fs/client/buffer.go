package client

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"hbmfs/fs/uapi"
)

// Buffer is memory of this program's that files are read into, by device where the mount
// can. It is the mount's until [Buffer.Close] or [Mount.Close], or until this process's
// connection to the mount fails: then reads into it fail with ENOENT, and it is to be
// registered anew.
type Buffer struct {
	mount *Mount
	id    uint32
	size  int64
	mem   []byte // of NewBuffer; else nil

	mu     sync.Mutex
	closed bool // guarded by mu
}

// bufferRemedies are those of calls that are about a buffer, where they are others.
var bufferRemedies = map[syscall.Errno]string{
	syscall.EACCES:     "the buffer is another user's",
	syscall.EBUSY:      "something is being read into the buffer, maybe by a call that was broken off; wait for its end",
	syscall.EDQUOT:     "this user has as many buffers as may be; register fewer, and larger ones",
	syscall.EFAULT:     "pages of the buffer are not there: allocate them (fallocate), and give none back",
	syscall.EINVAL:     "the range is negative or too long, or not within the buffer, or the buffer's not within the memory",
	syscall.ENOENT:     "there is no such buffer any more; register it anew",
	syscall.EOPNOTSUPP: "only memory that the device takes can be a buffer: a memfd, or a dma-buf of the host's memory",
	syscall.EPERM:      "the memory must be open for reading and writing, and a memfd sealed with F_SEAL_SHRINK",
}

// explainBuffer adds to an errno in err what it means of a buffer.
func explainBuffer(err error) error {
	if errno, ok := err.(syscall.Errno); ok {
		return explainBy(bufferRemedies, errno)
	}
	return err
}

// NewBuffer makes a buffer of size bytes, which [Buffer.Bytes] returns, for a device of
// the mount. The error wraps ENOMEM if this host has less memory to spare, or is as
// Register's.
func (m *Mount) NewBuffer(size int64, device uint32) (*Buffer, error) {
	fd, mem, err := newMemory(size)
	if err != nil {
		return nil, fmt.Errorf("hbmfs: buffer of %d bytes: %w", size, err)
	}
	defer unix.Close(fd)
	b, err := m.Register(fd, 0, size, device)
	if err != nil {
		return nil, errors.Join(err, unix.Munmap(mem))
	}
	b.mem = mem
	return b, nil
}

// newMemory is a memfd as the mount wants it, and its mapping.
func newMemory(size int64) (fd int, mem []byte, err error) {
	if size <= 0 || size > math.MaxInt {
		return -1, nil, syscall.EINVAL
	}
	if have, ok := availableMemory(); ok && size > have {
		return -1, nil, fmt.Errorf("%w: %d bytes are available on this host", syscall.ENOMEM, have)
	}
	if fd, err = unix.MemfdCreate("hbmfs-buffer", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING); err != nil {
		return -1, nil, os.NewSyscallError("memfd_create", err)
	}
	if err = unix.Fallocate(fd, 0, 0, size); err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW)
	}
	if err == nil {
		mem, err = unix.Mmap(fd, 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	}
	if err != nil {
		unix.Close(fd)
		return -1, nil, err
	}
	return fd, mem, nil
}

// availableMemory is how many bytes the kernel reckons can be had: fallocate of a memfd
// takes more, and ends other programs for it.
func availableMemory() (bytes int64, ok bool) {
	text, err := os.ReadFile("/proc/meminfo")
	_, after, found := strings.Cut(string(text), "MemAvailable:")
	if err != nil || !found {
		return 0, false
	}
	kib, _, _ := strings.Cut(strings.TrimSpace(after), " ")
	n, err := strconv.ParseInt(kib, 10, 53)
	return n << 10, err == nil
}

// Register makes a buffer of length bytes, from off on, of what fd refers to: a memfd with
// F_SEAL_SHRINK, all of whose pages are there, or a dma-buf of the host's memory. fd stays
// the caller's, and may be closed at once.
//
// The error wraps what hbmfs.h lists for CTL_BUFFER, as [syscall.Errno], or [ErrClosed] or
// [ErrProtocol]. A mount that is older than buffers answers ENOTTY or EINVAL.
func (m *Mount) Register(fd int, off, length int64, device uint32) (*Buffer, error) {
	req := uapi.CtlBufferRequest{Size: uint32(uapi.CtlBufferSize), Op: uapi.CtlBuffer, Device: device, Offset: uint64(off), Length: uint64(length)}
	message := make([]byte, uapi.CtlBufferSize)
	uapi.EncodeCtlBuffer(message, &req)
	a, err := m.ctl.put(question{message: message, fds: []int{fd}, check: func(a answer) error {
		if len(a.fds) != 0 || len(a.body) != 0 || a.reply.Length != req.Length || a.reply.Device != device {
			return fmt.Errorf("%w: CTL_BUFFER answered %+v", ErrProtocol, a.reply)
		}
		return nil
	}})
	if err != nil {
		return nil, fmt.Errorf("hbmfs: register %d bytes at %d of descriptor %d: %w", length, off, fd, explainBuffer(err))
	}
	return &Buffer{mount: m, id: a.reply.Region, size: length}, nil
}

// ID is the buffer's number, by which every process of the user can name it.
func (b *Buffer) ID() uint32 { return b.id }

// Size is in bytes.
func (b *Buffer) Size() int64 { return b.size }

// Bytes is the memory that [Mount.NewBuffer] made, until Close; nil of other buffers.
func (b *Buffer) Bytes() []byte { return b.mem }

// Close ends the buffer. The error wraps EBUSY while something may be written to it, and
// it is as it was then. A second call does nothing.
func (b *Buffer) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil
	}
	_, err := b.mount.ctl.ask(uapi.CtlRequest{Size: uint32(uapi.CtlRequestSize), Op: uapi.CtlUnbuffer, Region: b.id})
	if errors.Is(err, syscall.EBUSY) {
		return fmt.Errorf("hbmfs: close buffer %d of %s: %w", b.id, b.mount.root, explainBuffer(err))
	}
	b.closed = true // it is the mount's no more, or that is gone
	if b.mem == nil {
		return nil
	}
	mem := b.mem
	b.mem = nil
	return os.NewSyscallError("munmap", unix.Munmap(mem))
}

// Placed is what [File.ReadInto] brought.
type Placed struct {
	Fetched  int64 // bytes
	Resident int64 // of them, those that were in device memory already
	FileSize int64 // bytes
	// Path is the least direct by which any of them came, and Why the reason for it.
	Path uapi.Path
	Why  uapi.Reason
	// Unsettled is as [Lease] has it.
	Unsettled bool
}

// ReadInto brings length bytes of the file, from off on, to the place at in the buffer,
// and returns once its device sees them all. Nothing is pinned. A range past the end of
// the file is cut short, and the rest of the buffer stays as it is.
//
// ctx is as for [File.Fetch]; once it has ended, and after EIO, the range of the buffer
// may still be written to, until [Buffer.Close] succeeds. The error wraps what hbmfs.h
// lists for FETCH_INTO, as [syscall.Errno], or [ErrClosed] or [ErrProtocol].
func (f *File) ReadInto(ctx context.Context, b *Buffer, at, off, length int64) (Placed, error) {
	req := uapi.FetchInto{Size: uint32(uapi.FetchIntoSize), Offset: uint64(off), Length: uint64(length), Buffer: b.id, BufferOffset: uint64(at)}
	buf := make([]byte, uapi.FetchIntoSize)
	c := newCall(uapi.IocFetchInto, buf)
	c.remedies = bufferRemedies
	err := answered(ctx, f.sys, c, func() { uapi.EncodeFetchInto(buf, &req) })
	var got Placed
	if err == nil {
		got, err = decodePlaced(buf)
	}
	if err != nil {
		return Placed{}, fmt.Errorf("hbmfs: read %d bytes at %d of %s into buffer %d at %d: %w", length, off, f.path, b.id, at, err)
	}
	return got, nil
}

func decodePlaced(buf []byte) (Placed, error) {
	r := uapi.DecodeFetchIntoReply(buf)
	if max(r.Fetched, r.FileSize, r.Resident) > math.MaxInt64 || r.Path > math.MaxUint8 || r.Why > math.MaxUint16 {
		return Placed{}, fmt.Errorf("%w: FETCH_INTO answered %+v", ErrProtocol, r)
	}
	return Placed{
		Fetched: int64(r.Fetched), Resident: int64(r.Resident), FileSize: int64(r.FileSize),
		Path: uapi.Path(r.Path), Why: uapi.Reason(r.Why), Unsettled: r.Flags&uapi.FetchUnsettled != 0,
	}, nil
}

// DMABuf returns the dma-buf of a segment's region, for a device to import, and where in
// it the region begins, in bytes. The caller closes it. What is written by it is what the
// user is answered from then on.
//
// The error wraps EPERM unless the mount was made with --export-dmabuf, and EOPNOTSUPP if
// the device has none.
func (m *Mount) DMABuf(region uint32) (fd int, off int64, err error) {
	a, err := m.ctl.ask(uapi.CtlRequest{Size: uint32(uapi.CtlRequestSize), Op: uapi.CtlDMABuf, Region: region})
	if errors.Is(err, syscall.EPERM) {
		err = fmt.Errorf("%w: mount with --export-dmabuf", err)
	}
	if err != nil {
		return -1, 0, fmt.Errorf("hbmfs: dma-buf of region %d of %s: %w", region, m.root, err)
	}
	return a.fds[0], int64(a.reply.FDOffset), nil
}
