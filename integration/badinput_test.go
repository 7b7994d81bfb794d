package integration

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"hbmfs/fs/client"
	"hbmfs/fs/uapi"
)

// rawIoctl makes the system call with an argument at address p.
func rawIoctl(f *os.File, cmd uint32, p unsafe.Pointer) error {
	for {
		_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), uintptr(cmd), uintptr(p))
		switch errno {
		case 0:
			return nil
		case syscall.EINTR: // Go's runtime sends signals
			continue
		}
		return errno
	}
}

// ioctlBytes makes the system call with buf as its argument.
func ioctlBytes(f *os.File, cmd uint32, buf []byte) error {
	return rawIoctl(f, cmd, unsafe.Pointer(unsafe.SliceData(buf)))
}

func fetchArg(head uapi.Fetch, segments int) []byte {
	head.Size = uint32(uapi.FetchSize)
	return anyFetchArg(head, segments)
}

// anyFetchArg is for heads that are wrong too, which [uapi.EncodeFetch] is not.
func anyFetchArg(head uapi.Fetch, segments int) []byte {
	buf := make([]byte, uapi.FetchLen(segments))
	copy(buf, unsafe.Slice((*byte)(unsafe.Pointer(&head)), uapi.FetchSize))
	return buf
}

// ioctlFetch takes a lease without the client.
func ioctlFetch(f *os.File, off, n int64) (uapi.Fetch, error) {
	buf := fetchArg(uapi.Fetch{Offset: uint64(off), Length: uint64(n)}, 16)
	if err := ioctlBytes(f, uapi.IocFetch(16), buf); err != nil {
		return uapi.Fetch{}, err
	}
	r, _, err := uapi.DecodeFetchReply(buf)
	return r, err
}

func ioctlRelease(f *os.File, handle uint64) (uint64, error) {
	buf := make([]byte, uapi.ReleaseSize)
	uapi.EncodeRelease(buf, &uapi.Release{Size: uint32(uapi.ReleaseSize), Handle: handle})
	err := ioctlBytes(f, uapi.IocRelease, buf)
	return uapi.DecodeReleaseReply(buf).Released, err
}

// badCall is an ioctl and what it must answer.
type badCall struct {
	name string
	cmd  uint32
	arg  []byte
	want syscall.Errno // 0: it is good
}

// sized is command nr with that _IOC_SIZE.
func sized(nr uint32, size int) uint32 { return 3<<30 | uint32(size)<<16 | uapi.Magic<<8 | nr }

// badCommands are commands that are not, or have another size or direction.
func badCommands() []badCall {
	const read, write = 2 << 30, 1 << 30
	fetch := func(size int) badCall {
		arg := make([]byte, 1<<14)
		copy(arg, fetchArg(uapi.Fetch{Length: extent}, 1))
		return badCall{fmt.Sprintf("FETCH of %d bytes", size), sized(uapi.NrFetch, size), arg, unix.EINVAL}
	}
	arg := fetchArg(uapi.Fetch{Length: extent}, 1)
	all := []badCall{
		{"number 0", sized(0, 8), arg, unix.ENOTTY},
		{"number 77", sized(77, 8), arg, unix.ENOTTY},
		{"PIN of 8 bytes", sized(uapi.NrPin, 8), arg, unix.EINVAL},
		{"number 255", sized(255, 16383), make([]byte, 1<<14), unix.ENOTTY},
		{"another magic", uapi.IocFetch(1) &^ 0xff00, arg, unix.ENOTTY},
		{"a terminal's", unix.TCGETS, make([]byte, 256), unix.ENOTTY},
		{"FS_IOC_GETFLAGS", unix.FS_IOC_GETFLAGS, make([]byte, 8), unix.ENOTTY},
		{"no command", 0, arg, unix.ENOTTY},
		{"FETCH that only reads", uapi.IocFetch(1)&^write | read, arg, unix.EINVAL},
		{"FETCH that only writes", uapi.IocFetch(1)&^read | write, arg, unix.EINVAL},
		{"FETCH that does neither", uapi.IocFetch(1) &^ (read | write), arg, unix.EINVAL},
	}
	const head, segment = uapi.FetchSize, uapi.SegmentSize
	for _, size := range []int{0, 8, head - segment, head - 1, head, head + 1, head + segment - 1, head + segment + 1, 16383} {
		all = append(all, fetch(size))
	}
	return all
}

// badFetches are FETCHes of a file of size bytes whose members are wrong, and
// some that look it.
func badFetches(size int64) []badCall {
	wrong := func(name string, want syscall.Errno, change func(*uapi.Fetch)) badCall {
		f := uapi.Fetch{Size: uint32(uapi.FetchSize), Length: extent}
		change(&f)
		return badCall{"FETCH with " + name, uapi.IocFetch(4), anyFetchArg(f, 4), want}
	}
	return []badCall{
		wrong("size 0", unix.EINVAL, func(f *uapi.Fetch) { f.Size = 0 }),
		wrong("a smaller size", unix.EINVAL, func(f *uapi.Fetch) { f.Size-- }),
		wrong("a larger size", unix.EINVAL, func(f *uapi.Fetch) { f.Size += 8 }),
		wrong("the size of all", unix.EINVAL, func(f *uapi.Fetch) { f.Size = uint32(uapi.FetchLen(4)) }),
		wrong("an output flag", unix.EINVAL, func(f *uapi.Fetch) { f.Flags = uapi.FetchUnsettled }),
		wrong("an unknown flag", unix.EINVAL, func(f *uapi.Fetch) { f.Flags = 1 << 31 }),
		wrong("a segment count", unix.EINVAL, func(f *uapi.Fetch) { f.SegmentCount = 1 }),
		wrong("a huge segment count", unix.EINVAL, func(f *uapi.Fetch) { f.SegmentCount = math.MaxUint32 }),
		wrong("a negative offset", unix.EINVAL, func(f *uapi.Fetch) { f.Offset = math.MaxUint64 }),
		wrong("a negative length", unix.EINVAL, func(f *uapi.Fetch) { f.Length = 1 << 63 }),
		wrong("an end that overflows", unix.EINVAL, func(f *uapi.Fetch) { f.Offset, f.Length = math.MaxInt64, 1 }),
		wrong("an end that wraps around", unix.EINVAL, func(f *uapi.Fetch) { f.Offset, f.Length = 1<<63, 1<<63 }),
		wrong("device 1", unix.ENODEV, func(f *uapi.Fetch) { f.Device = 1 }),
		wrong("device -1", unix.ENODEV, func(f *uapi.Fetch) { f.Device = math.MaxUint32 }),
		wrong("an unknown handle to release", unix.ENOENT, func(f *uapi.Fetch) { f.Release = 1 << 40 }),
		wrong("length 0", 0, func(f *uapi.Fetch) { f.Length = 0 }),
		wrong("the largest offset", 0, func(f *uapi.Fetch) { f.Offset, f.Length = math.MaxInt64, 0 }),
		wrong("the largest end", 0, func(f *uapi.Fetch) { f.Offset, f.Length = uint64(size), uint64(math.MaxInt64-size) }),
	}
}

// badOthers are INFO, RELEASE and DIGEST of a file of size bytes with wrong
// members.
func badOthers(size int64) []badCall {
	info := func(name string, i uapi.Info) badCall {
		buf := make([]byte, uapi.InfoSize)
		uapi.EncodeInfo(buf, &i)
		return badCall{"INFO with " + name, uapi.IocInfo, buf, unix.EINVAL}
	}
	release := func(name string, want syscall.Errno, r uapi.Release) badCall {
		buf := make([]byte, uapi.ReleaseSize)
		uapi.EncodeRelease(buf, &r)
		return badCall{"RELEASE with " + name, uapi.IocRelease, buf, want}
	}
	digest := func(name string, d uapi.Digest) badCall {
		buf := make([]byte, uapi.DigestSize)
		uapi.EncodeDigest(buf, &d)
		return badCall{"DIGEST with " + name, uapi.IocDigest, buf, unix.EINVAL}
	}
	const i, r, d = uint32(uapi.InfoSize), uint32(uapi.ReleaseSize), uint32(uapi.DigestSize)
	return []badCall{
		info("size 0", uapi.Info{}),
		info("a flag", uapi.Info{Size: i, Flags: 1}),
		info("a padding that is not 0", uapi.Info{Size: i, Zero: 1}),
		release("size 0", unix.EINVAL, uapi.Release{}),
		release("a flag", unix.EINVAL, uapi.Release{Size: r, Flags: 1}),
		release("an unknown handle", unix.ENOENT, uapi.Release{Size: r, Handle: math.MaxUint64}),
		release("handle 0 and nothing held", 0, uapi.Release{Size: r}),
		digest("size 0", uapi.Digest{}),
		digest("a flag", uapi.Digest{Size: d, Flags: 1, Length: 1}),
		digest("a range past the end", uapi.Digest{Size: d, Offset: 1, Length: uint64(size)}),
		digest("an end that overflows", uapi.Digest{Size: d, Offset: math.MaxInt64, Length: 1}),
		digest("a negative offset", uapi.Digest{Size: d, Offset: math.MaxUint64}),
	}
}

// TestBadIoctl: each bad call gets its errno, leaves its argument alone and
// pins nothing.
func TestBadIoctl(t *testing.T) {
	const size = 3*extent + 5
	src := t.TempDir()
	writeNumbered(t, src, 1, size)
	m := startMount(t, src, small(8)...)
	f := mustOpen(t, m.path("1"), os.O_RDONLY)
	defer f.Close()
	calls := append(badCommands(), badFetches(size)...)
	for _, c := range append(calls, badOthers(size)...) {
		before := bytes.Clone(c.arg)
		err := ioctlBytes(f, c.cmd, c.arg)
		if c.want == 0 && err != nil || c.want != 0 && err != c.want {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
		if err != nil && !bytes.Equal(c.arg, before) {
			t.Errorf("%s: changed its argument", c.name)
		}
	}
	if s := m.stats().Cache; s.Leases != 0 || s.Misses != 0 {
		t.Errorf("after bad calls only: %+v", s)
	}
	checkTagged(t, fetchAll(t, m.path("1"), 0, size), 1, 1, 0)
}

// TestEmptyFetch: no bytes, no handle, but the size of the file.
func TestEmptyFetch(t *testing.T) {
	src := t.TempDir()
	writeNumbered(t, src, 1, 100)
	m := startMount(t, src)
	f := mustOpen(t, m.path("1"), os.O_RDONLY)
	defer f.Close()
	for _, off := range []int64{0, 100, 1 << 40} {
		r, err := ioctlFetch(f, off, off/100) // length 0 at 0
		must(t, err)
		if r.Handle != 0 || r.Fetched != 0 || r.SegmentCount != 0 || r.Cursor != 0 || r.FileSize != 100 {
			t.Errorf("FETCH at %d: %+v", off, r)
		}
	}
	if n := m.stats().Cache.Leases; n != 0 {
		t.Errorf("%d leases of nothing", n)
	}
}

// TestReplyHidesOthers: what an answer does not fill is zero, not what a buffer
// of the daemon held before: here, many segments.
func TestReplyHidesOthers(t *testing.T) {
	const room, unit = 400, 4096
	src := t.TempDir()
	writeNumbered(t, src, 1, room*unit)
	m := startMount(t, src, "--extent", "4KiB", "--pool", "4MiB")
	f := mustOpen(t, m.path("1"), os.O_RDONLY)
	defer f.Close()
	for range 20 {
		buf := fetchArg(uapi.Fetch{Length: room * unit}, room)
		must(t, ioctlBytes(f, uapi.IocFetch(room), buf))
		if all, _, err := uapi.DecodeFetchReply(buf); err != nil || all.SegmentCount != room {
			t.Fatalf("%+v, %v", all, err)
		}
		buf = fetchArg(uapi.Fetch{Length: unit}, room)
		must(t, ioctlBytes(f, uapi.IocFetch(room), buf))
		if rest := bytes.TrimLeft(buf[uapi.FetchLen(1):], "\x00"); len(rest) > 0 {
			t.Fatalf("%d bytes behind the one segment are not zero", len(rest))
		}
	}
}

// TestHandles: a handle belongs to one open file, and is good once.
func TestHandles(t *testing.T) {
	src := t.TempDir()
	writeNumbered(t, src, 1, 4*extent)
	m := startMount(t, src, small(8)...)
	a, b := openFile(t, m.path("1")), openFile(t, m.path("1"))
	h := pin(t, a, 0, extent, client.FetchOptions{}).Handle
	if other := pin(t, b, 0, extent, client.FetchOptions{}).Handle; other == h {
		t.Errorf("two open files have handle %d", h)
	}
	if err := b.Release(h); !errors.Is(err, unix.ENOENT) {
		t.Errorf("release another open file's handle: %v, want ENOENT", err)
	}
	if _, err := tryPin(b, 0, extent, client.FetchOptions{Release: h}); !errors.Is(err, unix.ENOENT) {
		t.Errorf("FETCH that releases another open file's handle: %v, want ENOENT", err)
	}
	if n := m.stats().Cache.Leases; n != 2 {
		t.Errorf("%d leases, want 2", n)
	}
	must(t, a.Release(h))
	if err := a.Release(h); !errors.Is(err, unix.ENOENT) {
		t.Errorf("release a second time: %v, want ENOENT", err)
	}
	for range 3 {
		pin(t, a, extent, extent, client.FetchOptions{})
	}
	if n, err := a.ReleaseAll(); n != 3 || err != nil {
		t.Errorf("release all: %d, %v, want 3", n, err)
	}
	if n := m.stats().Cache.Leases; n != 1 {
		t.Errorf("%d leases, want the other file's", n)
	}
}

// TestFailedFetchReleases: what a FETCH names is released even if it fails, but
// for EINVAL and ENOENT.
func TestFailedFetchReleases(t *testing.T) {
	src := t.TempDir()
	writeNumbered(t, src, 1, extent)
	m := startMount(t, src, small(8)...)
	f := openFile(t, m.path("1"))
	h := pin(t, f, 0, extent, client.FetchOptions{}).Handle
	if _, err := tryPin(f, -1, 1, client.FetchOptions{Release: h}); !errors.Is(err, unix.EINVAL) {
		t.Errorf("negative offset: %v, want EINVAL", err)
	}
	if n := m.stats().Cache.Leases; n != 1 {
		t.Errorf("%d leases after EINVAL, want 1", n)
	}
	if _, err := tryPin(f, 0, 1, client.FetchOptions{Release: h, Device: 7}); !errors.Is(err, unix.ENODEV) {
		t.Errorf("device 7: %v, want ENODEV", err)
	}
	if n := m.stats().Cache.Leases; n != 0 {
		t.Errorf("%d leases after ENODEV, want 0", n)
	}
}

// TestIoctlOnDirectory: INFO works on every directory of the mount; what is about a
// file's bytes wants a file.
func TestIoctlOnDirectory(t *testing.T) {
	src := t.TempDir()
	must(t, os.Mkdir(filepath.Join(src, "sub"), 0o755))
	_, addr := startTarget(t, "127.0.0.1:0", "data="+src)
	m, all := startMount(t, src), startMount(t, addr)
	for _, dir := range []string{m.dir, m.path("sub"), m.path(".hbmfs"), all.dir, all.path("data"), all.path("data/sub")} {
		f := mustOpen(t, dir, os.O_RDONLY)
		defer f.Close()
		info := make([]byte, uapi.InfoSize)
		uapi.EncodeInfo(info, &uapi.Info{Size: uint32(uapi.InfoSize)})
		if err := ioctlBytes(f, uapi.IocInfo, info); err != nil {
			t.Errorf("INFO on %s: %v", dir, err)
		} else if i, err := uapi.DecodeInfoReply(info); err != nil || i.ExtentSize != 1<<20 || i.TransportCount == 0 {
			t.Errorf("INFO on %s: %+v, %v", dir, i, err)
		}
		for _, cmd := range []uint32{uapi.IocFetch(1), uapi.IocDigest, uapi.IocPin, uapi.IocUnpin, uapi.IocEvict} {
			if err := ioctlBytes(f, cmd, make([]byte, uapi.IocSize(cmd))); err != unix.EISDIR {
				t.Errorf("command %#x on %s: %v, want EISDIR", cmd, dir, err)
			}
		}
		if err := ioctlBytes(f, sized(99, 8), make([]byte, 8)); err != unix.ENOTTY {
			t.Errorf("unknown command on %s: %v, want ENOTTY", dir, err)
		}
	}
}

// TestBadPointer: an argument that can't be read pins nothing; one that can't be
// written is told so after the grant, and RELEASE of all or a close undoes that.
func TestBadPointer(t *testing.T) {
	src := t.TempDir()
	writeNumbered(t, src, 1, 2*extent)
	m := startMount(t, src, small(8)...)
	f := mustOpen(t, m.path("1"), os.O_RDONLY)
	defer f.Close()
	page, err := unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	must(t, err)
	defer unix.Munmap(page)
	copy(page, fetchArg(uapi.Fetch{Length: 2 * extent}, 4))

	faults := func(protection int) {
		t.Helper()
		must(t, unix.Mprotect(page, protection))
		if err := ioctlBytes(f, uapi.IocFetch(4), page); err != unix.EFAULT {
			t.Errorf("FETCH: %v, want EFAULT", err)
		}
	}
	faults(unix.PROT_NONE)
	m.awaitLeases(0)
	faults(unix.PROT_READ)
	faults(unix.PROT_READ)
	m.awaitLeases(2)
	if n, err := ioctlRelease(f, 0); n != 2 || err != nil {
		t.Errorf("release all: %d, %v, want 2", n, err)
	}
	m.awaitLeases(0)
	faults(unix.PROT_READ)
	m.awaitLeases(1)
	must(t, f.Close())
	m.awaitLeases(0)
}
