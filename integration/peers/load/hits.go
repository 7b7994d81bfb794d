package load

import (
	"errors"
	"fmt"
	"path/filepath"
	"syscall"
	"time"
	"unsafe"

	"hbmfs/fs/uapi"
)

// hits fetches one range of an open file, and releases it. It makes the system
// calls itself, and hides them from Go's scheduler: what that does about calls that
// last is as much as the calls, where many processes do it, and is not the mount's.
type hits struct {
	fd             int
	off, length    int64
	fetch, release []byte // the calls' arguments
}

// fetchHits fetches one range and releases it, once at least, for as long as the
// job says.
func (w *worker) fetchHits() (err error) {
	fd, err := syscall.Open(filepath.Join(w.Dir, File), syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, syscall.Close(fd)) }()
	h := hits{fd: fd, off: w.Offset, length: w.Length,
		fetch: make([]byte, uapi.FetchLen(segments)), release: make([]byte, uapi.ReleaseSize)}
	for began := time.Now(); ; {
		hit, err := h.once()
		if err != nil {
			return err
		}
		w.items.Add(1)
		w.bytes.Add(w.Length)
		w.hits.Add(hit)
		if time.Since(began) >= w.For {
			return nil
		}
	}
}

// once returns how many of the bytes were in the pool.
func (h *hits) once() (hit int64, err error) {
	err = h.call(uapi.IocFetch(segments), h.fetch, func() {
		uapi.EncodeFetch(h.fetch, &uapi.Fetch{Size: uint32(uapi.FetchSize), Offset: uint64(h.off), Length: uint64(h.length)})
	})
	if err != nil {
		return 0, err
	}
	head, segs, err := uapi.DecodeFetchReply(h.fetch)
	if err == nil && int64(head.Fetched) != h.length {
		err = fmt.Errorf("%d of %d bytes in one fetch", head.Fetched, h.length)
	}
	if err != nil {
		return 0, err
	}
	for i := range int(head.SegmentCount) {
		if s := uapi.DecodeSegment(segs, i); s.Flags&uapi.SegmentHit != 0 {
			hit += int64(s.Length)
		}
	}
	return hit, h.call(uapi.IocRelease, h.release, func() {
		uapi.EncodeRelease(h.release, &uapi.Release{Size: uint32(uapi.ReleaseSize), Handle: head.Handle})
	})
}

// call makes a call until no signal of Go's runtime has broken it off.
func (h *hits) call(cmd uint32, arg []byte, encode func()) error {
	for {
		encode()
		_, _, errno := syscall.RawSyscall(syscall.SYS_IOCTL, uintptr(h.fd), uintptr(cmd), uintptr(unsafe.Pointer(&arg[0])))
		switch errno {
		case 0:
			return nil
		case syscall.EINTR:
		default:
			return fmt.Errorf("ioctl %#x: %w", cmd, errno)
		}
	}
}
