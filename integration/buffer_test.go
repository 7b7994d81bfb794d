package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hbmfs/fs/client"
	"hbmfs/fs/uapi"
)

// filledBuffer is a buffer, and what it should hold.
type filledBuffer struct {
	*client.Buffer
	want []byte
}

// newBuffer makes a buffer of a mount's, full of what no file has.
func newBuffer(t *testing.T, m *client.Mount, size int64) *filledBuffer {
	t.Helper()
	b, err := m.NewBuffer(size, 0)
	must(t, err)
	copy(b.Bytes(), bytes.Repeat([]byte{0xEE}, int(size)))
	return &filledBuffer{b, bytes.Clone(b.Bytes())}
}

// expect says that bytes of version 1 of a file come to a place.
func (b *filledBuffer) expect(at, n int64, file int, off int64) {
	copy(b.want[at:at+n], tagged(file, 1, off, n))
}

// check compares all of the buffer.
func (b *filledBuffer) check(t *testing.T, what string) {
	t.Helper()
	got := b.Bytes()
	for i := range got {
		if got[i] != b.want[i] {
			t.Fatalf("%s: byte %d of the buffer is %#x, want %#x", what, i, got[i], b.want[i])
		}
	}
}

// awaitBuffers waits until the mount has so many buffers, and nothing is read into them.
func (m *mount) awaitBuffers(n int) {
	m.t.Helper()
	eventually(m.t, fmt.Sprintf("there are %d buffers", n), func() error {
		if s := m.stats().Buffers; s.Count != n || s.Busy != 0 || (n == 0) != (s.Bytes == 0) {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
}

// TestReadInto: ranges at odd offsets come to odd places, from device memory, from the
// target and from both, with every byte beside them as it was.
func TestReadInto(t *testing.T) {
	const size = 20*extent + 777
	src := t.TempDir()
	writeNumbered(t, src, 1, size)
	for via, source := range sources(t, src) {
		t.Run(via, func(t *testing.T) {
			m := startMount(t, source, small(16)...)
			f := openFile(t, m.path("1"))
			b := newBuffer(t, f.Mount(), 24*extent+5)
			held := pin(t, f, 5*extent+13, 3*extent, client.FetchOptions{Access: client.Random})
			more := pin(t, f, 10*extent, extent/2, client.FetchOptions{Access: client.Random})
			var all, resident int64
			for _, c := range []struct{ at, off, n, fetched, resident int64 }{
				{3, 1, 5, 5, 0},
				{101, 7, extent + 3, extent + 3, 0},
				{9, 5*extent + 13, 3 * extent, 3 * extent, 3 * extent},
				{8, 6*extent + 1, 11, 11, 11},
				{77, 3, size - 3, size - 3, 3*extent + extent/2},
				{1, 4*extent + 7, 2 * extent, 2 * extent, extent - 6},
				{24*extent + 4, 0, 1, 1, 0},
				{11, size - 10, 1000, 10, 0},
				{0, size, 10, 0, 0},
				{0, size + 1<<40, 10, 0, 0},
				{24*extent + 5, 3, 0, 0, 0},
			} {
				got, err := f.ReadInto(t.Context(), b.Buffer, c.at, c.off, c.n)
				must(t, err)
				b.expect(c.at, c.fetched, 1, c.off)
				b.check(t, fmt.Sprintf("%+v", c))
				want := client.Placed{Fetched: c.fetched, Resident: c.resident, FileSize: size}
				if c.fetched > 0 {
					want.Path, want.Why = how[via].path, how[via].why
				}
				if got != want {
					t.Errorf("%+v: %+v, want %+v", c, got, want)
				}
				all, resident = all+c.fetched, resident+c.resident
			}
			if s := m.stats(); s.Buffers.Count != 1 || s.Buffers.Bytes != b.Size() || s.Buffers.Fetched != all || s.Buffers.Resident != resident ||
				s.Buffers.Paths[how[via].path] != all || s.Cache.Leases != 2 {
				t.Errorf("%+v, %d leases", s.Buffers, s.Cache.Leases)
			}
			checkHeldAs(t, f, held, 1)
			checkHeldAs(t, f, more, 1)
			must(t, b.Close())
			if _, err := f.ReadInto(t.Context(), b.Buffer, 0, 0, 1); !errors.Is(err, unix.ENOENT) {
				t.Errorf("a buffer that was closed: %v", err)
			}
			m.awaitBuffers(0)
		})
	}
}

// TestReadIntoRefused: what is not within the buffer.
func TestReadIntoRefused(t *testing.T) {
	src := t.TempDir()
	writeNumbered(t, src, 1, 3*extent)
	m := startMount(t, src, small(4)...)
	f := openFile(t, m.path("1"))
	b := newBuffer(t, f.Mount(), extent)
	for _, c := range [][3]int64{
		{0, 0, extent + 1}, {1, 0, extent}, {extent, 0, 1}, {-1, 0, 1}, {math.MinInt64, 0, 1}, {math.MaxInt64, 0, 1},
		{0, 0, -1}, {0, -1, 1}, {0, math.MaxInt64, 1}, {0, 3 * extent, extent + 1}, {1, 0, math.MaxInt64},
	} {
		if got, err := f.ReadInto(t.Context(), b.Buffer, c[0], c[1], c[2]); !errors.Is(err, unix.EINVAL) {
			t.Errorf("%v: %+v, %v", c, got, err)
		}
	}
	b.check(t, "refused")
	must(t, b.Close())
}

// TestRegister: which memory can be a buffer, and what is said of the other.
func TestRegister(t *testing.T) {
	src := t.TempDir()
	writeNumbered(t, src, 1, extent)
	m := startMount(t, src, small(4)...)
	f := openFile(t, m.path("1"))
	before := descriptorsOf(t, m)
	memory := func(seals int, allocated int64) int {
		fd, err := unix.MemfdCreate("test", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
		must(t, err)
		t.Cleanup(func() { unix.Close(fd) })
		must(t, unix.Ftruncate(fd, 4*4096))
		if allocated > 0 {
			must(t, unix.Fallocate(fd, 0, 0, allocated))
		}
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals)
		must(t, err)
		return fd
	}
	file := mustOpen(t, filepath.Join(t.TempDir(), "file"), os.O_RDWR|os.O_CREATE)
	defer file.Close()
	must(t, file.Truncate(8192))
	pipe, end, err := os.Pipe()
	must(t, err)
	defer pipe.Close()
	defer end.Close()
	good := memory(unix.F_SEAL_SHRINK, 4*4096)
	for what, c := range map[string]struct {
		fd     int
		off, n int64
		device uint32
		want   error
	}{
		"all":            {good, 0, 4 * 4096, 0, nil},
		"a part":         {good, 4097, 1, 0, nil},
		"too long":       {good, 1, 4 * 4096, 0, unix.EINVAL},
		"wild":           {good, math.MaxInt64 - 1, 1, 0, unix.EINVAL},
		"wilder":         {good, -1, 1, 0, unix.EINVAL},
		"nothing":        {good, 0, 0, 0, unix.EINVAL},
		"no such device": {good, 0, 4096, 7, unix.ENODEV},
		"may be cut off": {memory(unix.F_SEAL_GROW, 4*4096), 0, 4096, 0, unix.EPERM},
		"not writable":   {memory(unix.F_SEAL_SHRINK|unix.F_SEAL_FUTURE_WRITE, 4*4096), 0, 4096, 0, unix.EPERM},
		"holes":          {memory(unix.F_SEAL_SHRINK, 4096), 0, 4096 + 1, 0, unix.EFAULT},
		"a file":         {int(file.Fd()), 0, 4096, 0, unix.EOPNOTSUPP},
		"a pipe":         {int(pipe.Fd()), 0, 4096, 0, unix.EOPNOTSUPP},
	} {
		b, err := f.Mount().Register(c.fd, c.off, c.n, c.device)
		if !errors.Is(err, c.want) || (err == nil) != (b != nil) {
			t.Errorf("%s: %v, want %v", what, err, c.want)
		}
		if err == nil {
			must(t, b.Close())
		}
	}
	// A hole that is punched later is noticed before anything is read.
	b, err := f.Mount().Register(good, 0, 4*4096, 0)
	must(t, err)
	must(t, unix.Fallocate(good, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 4096, 4096))
	if _, err := f.ReadInto(t.Context(), b, 4000, 0, 200); !errors.Is(err, unix.EFAULT) {
		t.Errorf("into a hole: %v", err)
	}
	must(t, b.Close())
	m.awaitBuffers(0)
	eventually(t, "the daemon's descriptors are closed", func() error {
		if after := descriptorsOf(t, m); after > before+1 { // the connection's
			return fmt.Errorf("%d, were %d", after, before)
		}
		return nil
	})
}

// TestRegisterRaw: requests that the client does not make, with no descriptor, or two, or
// one where none belongs.
func TestRegisterRaw(t *testing.T) {
	src := t.TempDir()
	writeNumbered(t, src, 1, extent)
	m := startMount(t, src, small(4)...)
	before := descriptorsOf(t, m)
	c := mustDialCtl(t, m.dir)
	fd, err := unix.MemfdCreate("test", unix.MFD_CLOEXEC)
	must(t, err)
	defer unix.Close(fd)
	register := make([]byte, uapi.CtlBufferSize)
	uapi.EncodeCtlBuffer(register, &uapi.CtlBufferRequest{Size: uint32(uapi.CtlBufferSize), Op: uapi.CtlBuffer, Length: 4096})
	end := ctlMessage(uapi.CtlRequest{Size: uint32(uapi.CtlRequestSize), Op: uapi.CtlUnbuffer, Region: 1})
	for what, q := range map[string]struct {
		message []byte
		fds     []int
		want    unix.Errno
	}{
		"none":              {register, nil, unix.EINVAL},
		"two":               {register, []int{fd, fd}, unix.EINVAL},
		"cut":               {register[:len(register)-1], []int{fd}, unix.EINVAL},
		"no such buffer":    {end, nil, unix.ENOENT},
		"one to unregister": {end, []int{fd}, unix.EINVAL},
		"one for stats":     {ctlMessage(uapi.CtlRequest{Size: uint32(uapi.CtlRequestSize), Op: uapi.CtlStats}), []int{fd}, unix.EINVAL},
	} {
		if r, err := askWith(c, q.message, q.fds...); err != nil || unix.Errno(r.Error) != q.want {
			t.Errorf("%s: %+v, %v, want %v", what, r, err, q.want)
		}
	}
	if after := descriptorsOf(t, m); after > before+1 {
		t.Errorf("%d descriptors, were %d", after, before)
	}
}

// askWith sends a message with descriptors, and returns the reply.
func askWith(c *net.UnixConn, message []byte, fds ...int) (r uapi.CtlReply, err error) {
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	if _, _, err := c.WriteMsgUnix(message, rights, nil); err != nil {
		return r, err
	}
	in := make([]byte, uapi.CtlMax)
	n, err := c.Read(in)
	if err != nil {
		return r, err
	}
	r, _, err = uapi.DecodeCtlReply(in[:n])
	return r, err
}

// TestBatchInto: many files by name, and many ranges of one, with one call each; one that
// fails harms no other, and nothing is pinned.
func TestBatchInto(t *testing.T) {
	const files, size = 40, 9_001
	r := startRig(t)
	var wants []client.Want
	for i := range files {
		r.write(strconv.Itoa(i), i, size+int64(i))
		wants = append(wants, client.Want{Name: strconv.Itoa(i), Offset: int64(i), Length: size, At: int64(i) * (size + 3)})
	}
	wants[7].Name, wants[9].At, wants[11].At = "none", files*size, -5
	d := r.openDir(".")
	var pinned client.Batch
	must(t, d.FetchFiles(t.Context(), &pinned, wants[:3], client.BatchOptions{}))
	f := r.openFile("0")
	b := newBuffer(t, f.Mount(), files*(size+3))
	var got client.Batch
	must(t, d.FetchFiles(t.Context(), &got, wants, client.BatchOptions{Into: b.Buffer}))
	for i, w := range wants {
		var want error
		switch i {
		case 7:
			want = unix.ENOENT
		case 9, 11:
			want = unix.EINVAL
		default:
			b.expect(w.At, size, i, w.Offset)
		}
		g := &got.Results[i]
		if !errors.Is(g.Err, want) || want == nil && (g.Fetched != size || g.FileSize != size+int64(i) || g.Path != uapi.PathStaged || len(g.Segments) > 0 || g.More || g.Cursor != 0) {
			t.Errorf("file %d: %+v", i, g)
		}
	}
	b.check(t, "files")
	if got.Handle != 0 || got.Failed != 3 {
		t.Errorf("handle %d, %d failed", got.Handle, got.Failed)
	}
	if s := r.stats().Buffers; s.Resident != 3*size || s.Fetched != (files-3)*size {
		t.Errorf("%+v", s)
	}
	must(t, d.Release(pinned.Handle))
	r.nothingLeased()
	ranges := []client.Want{{Offset: 1, Length: 10, At: 5}, {Offset: size - 5, Length: 100, At: 100}, {Offset: size * 2, Length: 3}}
	must(t, f.FetchRanges(t.Context(), &got, ranges, client.BatchOptions{Into: b.Buffer}))
	b.expect(5, 10, 0, 1)
	b.expect(100, 5, 0, size-5)
	b.check(t, "ranges")
	if got.Failed != 0 || got.Results[1].Fetched != 5 || got.Results[2].Fetched != 0 {
		t.Errorf("%+v", got.Results)
	}
	if err := f.FetchRanges(t.Context(), &got, ranges, client.BatchOptions{Into: b.Buffer, Release: 5}); !errors.Is(err, unix.EINVAL) {
		t.Errorf("with a release: %v", err)
	}
	must(t, b.Close())
	if err := f.FetchRanges(t.Context(), &got, ranges, client.BatchOptions{Into: b.Buffer}); !errors.Is(err, unix.ENOENT) {
		t.Errorf("into no buffer: %v", err)
	}
}

// TestReadIntoStale: what changed is not read, also where it is in device memory.
func TestReadIntoStale(t *testing.T) {
	const size = 4 * extent
	r := startRig(t, small(8)...)
	f := r.openFile(r.write("1", 1, size))
	pin(t, f, 0, size, client.FetchOptions{})
	b := newBuffer(t, f.Mount(), size)
	got, err := f.ReadInto(t.Context(), b.Buffer, 0, 0, size)
	if err != nil || got.Resident != size {
		t.Fatalf("%+v, %v", got, err)
	}
	writeTagged(t, filepath.Join(r.src, "1"), 1, 2, size)
	if got, err := f.ReadInto(t.Context(), b.Buffer, 0, 0, size); !errors.Is(err, unix.ESTALE) {
		t.Errorf("%+v, %v, want ESTALE", got, err)
	}
	again := r.openFile("1")
	_, err = again.ReadInto(t.Context(), b.Buffer, 0, 0, size)
	must(t, err)
	checkTagged(t, b.Bytes(), 1, 2, 0)
	must(t, b.Close())
}

// TestReadIntoBrokenOff: a call that is broken off returns, and the buffer is in use until
// its transfer has ended.
func TestReadIntoBrokenOff(t *testing.T) {
	const size = 4 << 20
	r := startRig(t)
	f := r.openFile(r.write("1", 1, size))
	b := newBuffer(t, f.Mount(), size)
	struck := r.proxy.inject(stall, size/2)
	ctx, cancel := context.WithCancel(t.Context())
	done := inBackground(func() ([]byte, error) {
		_, err := f.ReadInto(ctx, b.Buffer, 0, 0, size)
		return nil, err
	})
	await(t, "the stall", struck, 10*time.Second)
	if s := r.stats().Buffers; s.Busy != 1 {
		t.Errorf("under way: %+v", s)
	}
	if err := b.Close(); !errors.Is(err, unix.EBUSY) {
		t.Errorf("ended while it is read into: %v, want EBUSY", err)
	}
	cancel()
	began := time.Now()
	if o := await(t, "the end of the call", done, 5*time.Second); !errors.Is(o.err, context.Canceled) {
		t.Errorf("%v, want %v", o.err, context.Canceled)
	}
	t.Logf("broken off after %v", time.Since(began))
	if err := b.Close(); !errors.Is(err, unix.EBUSY) {
		t.Errorf("ended before its transfer: %v, want EBUSY", err)
	}
	r.proxy.heal()
	eventually(t, "the buffer can be closed", b.Close)
	r.awaitBuffers(0)
}

func init() { children["read-into"] = readInto }

// readInto FILE SIZE reads a file into a buffer, says the buffer's number, and does so
// again and again.
func readInto(args []string) error {
	size, err := strconv.ParseInt(args[1], 10, 64)
	if err != nil {
		return err
	}
	f, err := client.Open(args[0])
	if err != nil {
		return err
	}
	b, err := f.Mount().NewBuffer(size, 0)
	if err != nil {
		return err
	}
	fmt.Println("buffer", b.ID())
	for {
		if _, err := f.ReadInto(context.Background(), b, 0, 0, size); err != nil {
			return err
		}
	}
}

// TestBufferEndsWithProcess: nothing is left of the buffer of a process that is killed
// while it is read into, and the mount goes on.
func TestBufferEndsWithProcess(t *testing.T) {
	const size = 4 << 20
	r := startRig(t, "--pool", "16MiB")
	path := r.write("1", 1, size)
	before := descriptorsOf(t, r.mount)
	for _, stalled := range []bool{false, true} {
		p := start(t, child(t, "read-into", 0, path, strconv.Itoa(size)))
		p.line("buffer ")
		eventually(t, "something is read", func() error {
			if s := r.stats().Buffers; s.Fetched == 0 {
				return fmt.Errorf("%+v", s)
			}
			return nil
		})
		if stalled {
			await(t, "the stall", r.proxy.inject(stall, size/2), 10*time.Second)
		}
		p.kill(unix.SIGKILL)
		eventually(t, "no program has the buffer", func() error {
			if s := r.stats().Buffers; s.Count != 0 {
				return fmt.Errorf("%+v", s)
			}
			return nil
		})
		r.proxy.heal()
		r.awaitBuffers(0)
	}
	eventually(t, "the daemon's descriptors are closed", func() error {
		if after := descriptorsOf(t, r.mount); after > before {
			return fmt.Errorf("%d, were %d", after, before)
		}
		return nil
	})
	checkTagged(t, fetchAll(t, path, 0, size), 1, 1, 0)
}

// TestBufferOutlivesTarget: what is under way while the target is killed comes from the
// next one, or fails; the right bytes come from then on.
func TestBufferOutlivesTarget(t *testing.T) {
	const size = 4 << 20
	r := startRig(t)
	f := r.openFile(r.write("1", 1, size))
	b := newBuffer(t, f.Mount(), size)
	struck := r.proxy.inject(stall, size/2)
	done := inBackground(func() ([]byte, error) {
		_, err := f.ReadInto(t.Context(), b.Buffer, 0, 0, size)
		return nil, err
	})
	await(t, "the stall", struck, 10*time.Second)
	r.target.kill(unix.SIGKILL)
	r.proxy.heal()
	r.restart()
	o := await(t, "the end of the call", done, 30*time.Second)
	t.Logf("%v after %v", o.err, o.took)
	if o.err != nil && !errors.Is(o.err, unix.EIO) && !errors.Is(o.err, unix.ESTALE) {
		t.Error(o.err)
	}
	again := r.openFile("1")
	eventually(t, "it is read again", func() error {
		_, err := again.ReadInto(t.Context(), b.Buffer, 0, 0, size)
		return err
	})
	b.expect(0, size, 1, 0)
	b.check(t, "after the kill")
	eventually(t, "the buffer can be closed", b.Close)
}

func init() { children["others-buffer"] = othersBuffer }

// othersBuffer FILE ID tries to use and to end another user's buffer.
func othersBuffer(args []string) error {
	id, err := strconv.ParseUint(args[1], 10, 32)
	if err != nil {
		return err
	}
	c, err := dialCtl(filepath.Dir(args[0]))
	if err != nil {
		return err
	}
	r, err := askWith(c, ctlMessage(uapi.CtlRequest{Size: uint32(uapi.CtlRequestSize), Op: uapi.CtlUnbuffer, Region: uint32(id)}))
	if err != nil || unix.Errno(r.Error) != unix.EACCES {
		return fmt.Errorf("ended: %+v, %v", r, err)
	}
	f, err := os.Open(args[0])
	if err != nil {
		return err
	}
	arg := make([]byte, uapi.FetchIntoSize)
	for buffer, want := range map[uint32]unix.Errno{uint32(id): unix.EACCES, uint32(id) + 1: unix.ENOENT, 0: unix.ENOENT} {
		uapi.EncodeFetchInto(arg, &uapi.FetchInto{Size: uint32(uapi.FetchIntoSize), Length: 1, Buffer: buffer})
		if err := ioctlBytes(f, uapi.IocFetchInto, arg); !errors.Is(err, want) {
			return fmt.Errorf("read into buffer %d: %v, want %v", buffer, err, want)
		}
	}
	fmt.Println("refused")
	return nil
}

// TestBuffersAreUsers: another user's buffer can't be named; another process of the
// user's can name it.
func TestBuffersAreUsers(t *testing.T) {
	const size = 2 * extent
	src := t.TempDir()
	writeNumbered(t, src, 1, size)
	m := startMount(t, src, append(small(8), "--allow-other")...)
	f := openFile(t, m.path("1"))
	b := newBuffer(t, f.Mount(), size)
	start(t, child(t, "others-buffer", nobody, m.path("1"), fmt.Sprint(b.ID()))).line("refused")
	other := mustDialCtl(t, m.dir)
	_, err := f.ReadInto(t.Context(), b.Buffer, 0, 0, size)
	must(t, err)
	b.expect(0, size, 1, 0)
	b.check(t, "by its owner")
	end := ctlMessage(uapi.CtlRequest{Size: uint32(uapi.CtlRequestSize), Op: uapi.CtlUnbuffer, Region: b.ID()})
	for _, want := range []unix.Errno{0, unix.ENOENT} {
		if r, err := askWith(other, end); err != nil || unix.Errno(r.Error) != want {
			t.Errorf("ended by another connection: %+v, %v, want %v", r, err, want)
		}
	}
	must(t, b.Close())
	m.awaitBuffers(0)
}

// TestOverlappingReads: many calls into one place at once end, and the mount goes on.
func TestOverlappingReads(t *testing.T) {
	const size = 8 * extent
	src := t.TempDir()
	writeNumbered(t, src, 1, size)
	writeNumbered(t, src, 2, size)
	m := startMount(t, src, small(4)...)
	f, g := openFile(t, m.path("1")), openFile(t, m.path("2"))
	b := newBuffer(t, f.Mount(), size)
	var all []<-chan outcome
	for i := range 16 {
		file := []*client.File{f, g}[i%2]
		all = append(all, inBackground(func() ([]byte, error) {
			for range 20 {
				if _, err := file.ReadInto(t.Context(), b.Buffer, int64(i), int64(i*7), size-1000); err != nil {
					return nil, err
				}
			}
			return nil, nil
		}))
	}
	for _, c := range all {
		must(t, await(t, "a reader", c, 30*time.Second).err)
	}
	_, err := f.ReadInto(t.Context(), b.Buffer, 0, 0, size)
	must(t, err)
	checkTagged(t, b.Bytes(), 1, 1, 0)
	if out, code := command(t, "stat", m.dir); code != 0 || !strings.Contains(out, "1 of programs, 512.0 KiB; 0 are being read into") {
		t.Errorf("hbmfs stat says\n%s", out)
	}
	must(t, b.Close())
}

// TestDMABufRefused: a dma-buf is handed out only if the mount was told to, and there is
// one. Where there is, the lab has tests.
func TestDMABufRefused(t *testing.T) {
	src := t.TempDir()
	writeNumbered(t, src, 1, extent)
	for flag, want := range map[string]error{"--export-dmabuf=false": unix.EPERM, "--export-dmabuf": unix.EOPNOTSUPP} {
		m := startMount(t, src, append(small(4), flag)...)
		f := openFile(t, m.path("1"))
		held := pin(t, f, 0, extent, client.FetchOptions{})
		if fd, _, err := f.Mount().DMABuf(held.Segments[0].Region); !errors.Is(err, want) || fd >= 0 {
			t.Errorf("%s: %d, %v, want %v", flag, fd, err, want)
		}
		if _, _, err := f.Mount().DMABuf(held.Segments[0].Region + 1); !errors.Is(err, unix.ENOENT) && want != unix.EPERM {
			t.Errorf("no such region: %v", err)
		}
	}
}

// TestRingInto: a ring's operations bring ranges of files, and of files by name, into a
// buffer.
func TestRingInto(t *testing.T) {
	const files, size = 20, 70_003
	r := startRig(t)
	for i := range files {
		r.write(strconv.Itoa(i), i, size)
	}
	mnt, err := client.OpenMount(r.dir)
	must(t, err)
	defer mnt.Close()
	ring, err := mnt.NewRing(client.RingOptions{Entries: 64})
	must(t, err)
	defer ring.Close()
	d, err := mnt.OpenDir(r.dir)
	must(t, err)
	defer d.Close()
	dir, err := ring.RegisterDir(d)
	must(t, err)
	f, err := mnt.Open(r.path("0"))
	must(t, err)
	defer f.Close()
	file, err := ring.Register(f)
	must(t, err)
	b := newBuffer(t, mnt, (files+1)*(size+5))
	ops := []client.Op{{Kind: client.OpFetchInto, Tag: 100, File: file, Offset: 3, Length: size, Into: b.Buffer, At: files*(size+5) + 1}}
	b.expect(ops[0].At, size-3, 0, 3)
	for i := range files {
		op := client.Op{Kind: client.OpFetchInto, Tag: uint64(i), File: dir, Name: strconv.Itoa(i), Length: size, Into: b.Buffer, At: int64(i) * (size + 5)}
		switch i {
		case 5:
			op.Name = "none"
		case 6:
			op.At = b.Size() - 1
		default:
			b.expect(op.At, size, i, 0)
		}
		ops = append(ops, op)
	}
	n, err := ring.Submit(ops)
	if err != nil || n != len(ops) {
		t.Fatalf("%d, %v", n, err)
	}
	done := make([]client.Completion, len(ops))
	for got := 0; got < len(ops); {
		n, err := ring.Wait(t.Context(), done[:])
		must(t, err)
		for _, c := range done[:n] {
			want := map[uint64]error{5: unix.ENOENT, 6: unix.EINVAL}[c.Tag]
			length := int64(size)
			if c.Tag == 100 {
				length -= 3
			}
			if !errors.Is(c.Err, want) || want == nil && (c.Segment.Length != length || c.Handle != 0 || c.FileSize != size || c.Segment.Path != uapi.PathStaged) {
				t.Errorf("%+v", c)
			}
		}
		got += n
	}
	b.check(t, "by a ring")
	r.nothingLeased()
	must(t, b.Close())
}

// TestPunchedWhileRead: a program that takes pages away, and writes others, while they are
// read into, harms itself only.
func TestPunchedWhileRead(t *testing.T) {
	const size = 16 * extent
	r := startRig(t, small(32)...)
	f := r.openFile(r.write("1", 1, size))
	pin(t, f, 4*extent, 4*extent, client.FetchOptions{})
	fd, err := unix.MemfdCreate("test", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	must(t, err)
	defer unix.Close(fd)
	must(t, unix.Fallocate(fd, 0, 0, size))
	_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK)
	must(t, err)
	b, err := f.Mount().Register(fd, 0, size, 0)
	must(t, err)
	ctx, stop := context.WithCancel(t.Context())
	punched := inBackground(func() ([]byte, error) {
		page := make([]byte, 4096)
		for off := int64(0); ctx.Err() == nil; off = (off + 4096) % size {
			if err := unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, 4096); err != nil {
				return nil, err
			}
			if _, err := unix.Pwrite(fd, page, off); err != nil {
				return nil, err
			}
		}
		return nil, nil
	})
	for range 300 {
		_, err := f.ReadInto(t.Context(), b, 0, 0, size)
		if err != nil && !errors.Is(err, unix.EFAULT) && !errors.Is(err, unix.EIO) {
			t.Fatal(err)
		}
	}
	stop()
	must(t, await(t, "the writer", punched, 5*time.Second).err)
	good := newBuffer(t, f.Mount(), size)
	_, err = f.ReadInto(t.Context(), good.Buffer, 0, 0, size)
	must(t, err)
	good.expect(0, size, 1, 0)
	good.check(t, "another buffer")
	must(t, b.Close())
	must(t, good.Close())
	if s := r.stats().Target; s.Sessions != 1 || s.Link.Lost != 0 {
		t.Errorf("%d sessions, %d connections lost", s.Sessions, s.Link.Lost)
	}
}
