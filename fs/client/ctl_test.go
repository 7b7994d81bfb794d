package client

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"hbmfs/fs/uapi"
)

const testRegionSize = 64 << 10

func openDescriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestBytes(t *testing.T) {
	memfds := map[uint32]int{5: newMemfd(t, 5, testRegionSize), 6: newMemfd(t, 6, testRegionSize)}
	s, m := newFakeCtl(t, func(req uapi.CtlRequest) fakeReply {
		return regionReply(req, memfds[req.Region], testRegionSize)
	})
	for _, seg := range []Segment{
		{Region: 5, Length: testRegionSize},
		{Region: 6, RegionOffset: 4096 + 8, Length: 16},
		{Region: 5, RegionOffset: testRegionSize - 8, Length: 8},
		{Region: 5, RegionOffset: testRegionSize},
	} {
		got, err := m.Bytes(seg)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, tagged(seg.Region, int(seg.RegionOffset), int(seg.Length))) || cap(got) != len(got) {
			t.Errorf("%+v: %d bytes of %d, % x", seg, len(got), cap(got), got[:min(16, len(got))])
		}
	}
	if s.asked.Load() != 2 || s.accepted.Load() != 1 {
		t.Errorf("%d requests on %d connections for two regions", s.asked.Load(), s.accepted.Load())
	}
	seg := Segment{Region: 5, RegionOffset: 8, Length: 8}
	if allocs := testing.AllocsPerRun(100, func() {
		if _, err := m.Bytes(seg); err != nil {
			t.Fatal(err)
		}
	}); allocs != 0 {
		t.Errorf("%v allocations for a region that is mapped", allocs)
	}
}

func TestRegionWithinItsDescriptor(t *testing.T) {
	page := os.Getpagesize()
	fd := newMemfd(t, 5, 4*page)
	_, m := newFakeCtl(t, func(req uapi.CtlRequest) fakeReply {
		r := regionReply(req, fd, 2*page)
		r.head.FDOffset = uint64(page)
		return r
	})
	got, err := m.Bytes(Segment{Region: 1, Length: int64(2 * page)})
	if err != nil || !bytes.Equal(got, tagged(5, page, 2*page)) {
		t.Errorf("%v", err)
	}
}

func TestSegmentOutsideOfItsRegion(t *testing.T) {
	fd := newMemfd(t, 5, testRegionSize)
	_, m := newFakeCtl(t, func(req uapi.CtlRequest) fakeReply { return regionReply(req, fd, testRegionSize) })
	for _, seg := range []Segment{
		{RegionOffset: testRegionSize, Length: 1},
		{RegionOffset: 1, Length: testRegionSize},
		{RegionOffset: -1, Length: 1},
		{RegionOffset: 1, Length: -1},
		{RegionOffset: 1<<63 - 1, Length: 1<<63 - 1},
	} {
		if b, err := m.Bytes(seg); !errors.Is(err, ErrProtocol) || b != nil {
			t.Errorf("%+v: %d bytes, %v", seg, len(b), err)
		}
	}
}

func TestRegionIsMappedOnce(t *testing.T) {
	fd := newMemfd(t, 5, testRegionSize)
	_, m := newFakeCtl(t, func(req uapi.CtlRequest) fakeReply { return regionReply(req, fd, testRegionSize) })
	var got [8][]byte
	var wg sync.WaitGroup
	for i := range got {
		wg.Go(func() {
			var err error
			if got[i], err = m.Bytes(Segment{Region: 5, Length: 8}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, b := range got[1:] {
		if !sameMemory(got[0], b) {
			t.Error("two mappings of one region")
		}
	}
}

func TestRepliesThatAreRefused(t *testing.T) {
	fd := newMemfd(t, 5, testRegionSize)
	for name, c := range map[string]struct {
		change func(*fakeReply)
		want   error
	}{
		"error reply":         {func(r *fakeReply) { r.head.Error, r.fds = int32(syscall.EACCES), nil }, syscall.EACCES},
		"error and a fd":      {func(r *fakeReply) { r.head.Error = int32(syscall.ENOENT) }, syscall.ENOENT},
		"no fd":               {func(r *fakeReply) { r.fds = nil }, ErrProtocol},
		"two fds":             {func(r *fakeReply) { r.fds = []int{fd, fd} }, ErrProtocol},
		"fds cut off":         {func(r *fakeReply) { r.fds = slices.Repeat(r.fds, 32) }, ErrProtocol},
		"other region":        {func(r *fakeReply) { r.head.Region++ }, ErrProtocol},
		"empty region":        {func(r *fakeReply) { r.head.Length = 0 }, ErrProtocol},
		"longer than its fd":  {func(r *fakeReply) { r.head.Length++ }, ErrProtocol},
		"beyond its fd":       {func(r *fakeReply) { r.head.FDOffset = testRegionSize }, ErrProtocol},
		"far beyond its fd":   {func(r *fakeReply) { r.head.FDOffset = 1 << 62 }, ErrProtocol},
		"length over 2^63":    {func(r *fakeReply) { r.head.Length = 1 << 63 }, ErrProtocol},
		"within a page":       {func(r *fakeReply) { r.head.FDOffset, r.head.Length = 8, 8 }, ErrProtocol},
		"negative errno":      {func(r *fakeReply) { r.head.Error = -1 }, ErrProtocol},
		"size member":         {func(r *fakeReply) { r.head.Size-- }, ErrProtocol},
		"short":               {func(r *fakeReply) { r.raw = make([]byte, 8) }, ErrProtocol},
		"bytes after it":      {func(r *fakeReply) { r.tail = "more" }, ErrProtocol},
		"longer than allowed": {func(r *fakeReply) { r.raw = append(r.message(), make([]byte, uapi.CtlMax)...) }, ErrProtocol},
	} {
		t.Run(name, func(t *testing.T) {
			var correct atomic.Bool
			_, m := newFakeCtl(t, func(req uapi.CtlRequest) fakeReply {
				r := regionReply(req, fd, testRegionSize)
				if !correct.Load() {
					c.change(&r)
				}
				return r
			})
			seg := Segment{Region: 5, Length: testRegionSize}
			if _, err := m.Bytes(seg); !errors.Is(err, c.want) || !strings.Contains(err.Error(), "region 5") {
				t.Fatalf("%v, want %v", err, c.want)
			}
			before := openDescriptors(t)
			if _, err := m.Bytes(seg); !errors.Is(err, c.want) {
				t.Fatalf("the second time: %v", err)
			}
			if after := openDescriptors(t); after != before {
				t.Errorf("%d descriptors before, %d after", before, after)
			}
			correct.Store(true)
			if b, err := m.Bytes(seg); err != nil || !bytes.Equal(b, tagged(5, 0, testRegionSize)) {
				t.Errorf("a correct reply after that: %v", err)
			}
		})
	}
}

func TestMapRefusesWhatIsNoMemory(t *testing.T) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(p[0])
	defer unix.Close(p[1])
	if b, err := mapDescriptor(p[0], 0, 4096); !errors.Is(err, ErrProtocol) || b != nil {
		t.Errorf("%v", err)
	}
	if _, err := mapDescriptor(-1, 0, 4096); !errors.Is(err, syscall.EBADF) {
		t.Errorf("%v", err)
	}
}

func TestHungUpAndBack(t *testing.T) {
	fd := newMemfd(t, 5, testRegionSize)
	var hungUp atomic.Bool
	s, m := newFakeCtl(t, func(req uapi.CtlRequest) fakeReply {
		if hungUp.CompareAndSwap(false, true) {
			return fakeReply{}
		}
		return regionReply(req, fd, testRegionSize)
	})
	if _, err := m.Bytes(Segment{Region: 5}); err == nil {
		t.Fatal("no error from a connection that was closed")
	}
	if _, err := m.Bytes(Segment{Region: 5}); err != nil {
		t.Fatal(err)
	}
	if s.accepted.Load() != 2 {
		t.Errorf("%d connections", s.accepted.Load())
	}
}

func TestStats(t *testing.T) {
	const text = `{"fetches":3}`
	reply := fakeReply{head: uapi.CtlReply{Size: uint32(uapi.CtlReplySize), Length: uint64(len(text))}, tail: text}
	_, m := newFakeCtl(t, func(uapi.CtlRequest) fakeReply { return reply })
	if got, err := m.Stats(); err != nil || string(got) != text {
		t.Errorf("%q, %v", got, err)
	}
}

func TestStatsRefused(t *testing.T) {
	fd := newMemfd(t, 5, 4096)
	for name, change := range map[string]func(*fakeReply){
		"length": func(r *fakeReply) { r.head.Length++ },
		"no end": func(r *fakeReply) { r.head.Length = 1 << 62 },
		"a fd":   func(r *fakeReply) { r.fds = []int{fd} },
	} {
		_, m := newFakeCtl(t, func(uapi.CtlRequest) fakeReply {
			r := fakeReply{head: uapi.CtlReply{Size: uint32(uapi.CtlReplySize), Length: 2}, tail: "{}"}
			change(&r)
			return r
		})
		if got, err := m.Stats(); !errors.Is(err, ErrProtocol) || got != nil {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

// TestRefusedUnasked: what a mount says before it hangs up is heard, whoever of the
// two was first.
func TestRefusedUnasked(t *testing.T) {
	refusal := fakeReply{head: uapi.CtlReply{Size: uint32(uapi.CtlReplySize), Error: int32(syscall.EMFILE)}}.message()
	for name, late := range map[string]bool{"before it is asked": false, "with a question unread": true} {
		t.Run(name, func(t *testing.T) {
			c := &ctl{dial: func() (*net.UnixConn, error) {
				ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
				if err != nil {
					return nil, err
				}
				if late {
					_, err = unix.Write(ends[0], []byte{0})
				}
				_, werr := unix.Write(ends[1], refusal)
				file := os.NewFile(uintptr(ends[0]), "ctl")
				defer file.Close()
				conn, cerr := net.FileConn(file)
				err = errors.Join(err, werr, cerr, unix.Close(ends[1]))
				return conn.(*net.UnixConn), err
			}}
			defer c.close()
			_, err := c.ask(uapi.CtlRequest{Op: uapi.CtlStats})
			if !errors.Is(err, syscall.EMFILE) || !strings.Contains(err.Error(), "close some") {
				t.Error(err)
			}
		})
	}
}

func TestClosedMount(t *testing.T) {
	fd := newMemfd(t, 5, testRegionSize)
	_, m := newFakeCtl(t, func(req uapi.CtlRequest) fakeReply { return regionReply(req, fd, testRegionSize) })
	if _, err := m.Bytes(Segment{Region: 5}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
	}
	_, mapped := m.Bytes(Segment{Region: 5})
	_, other := m.Bytes(Segment{Region: 6})
	_, stats := m.Stats()
	for name, err := range map[string]error{"mapped": mapped, "not mapped": other, "stats": stats} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestClosedWhileMapping closes the mount between a region's descriptor coming
// and its entry into the table.
func TestClosedWhileMapping(t *testing.T) {
	fd := newMemfd(t, 5, testRegionSize)
	_, m := newFakeCtl(t, func(req uapi.CtlRequest) fakeReply { return regionReply(req, fd, testRegionSize) })
	mapped, err := m.mapRegion(5)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := m.keep(5, mapped); !errors.Is(err, ErrClosed) {
		t.Errorf("%v", err)
	}
	if err := unix.Munmap(mapped); err != nil {
		t.Error(err)
	}
}

func TestNoControlSocket(t *testing.T) {
	_, m := newFakeCtl(t, nil)
	m.root = t.TempDir()
	if _, err := m.Stats(); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "part of the mount") {
		t.Errorf("%v", err)
	}
	if err := os.Mkdir(m.root+"/.hbmfs", 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Stats(); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), m.root+"/.hbmfs/ctl") {
		t.Errorf("%v", err)
	}
	m.dev++
	if _, err := m.Stats(); !errors.Is(err, ErrNotHBMFS) {
		t.Errorf("another mount in its place: %v", err)
	}
}

func FuzzParseMessage(f *testing.F) {
	reply := fakeReply{head: uapi.CtlReply{Size: uint32(uapi.CtlReplySize), Length: 2, Region: 1}, tail: "{}"}.message()
	rights := unix.UnixRights(3)
	oddRights := slices.Clone(rights[:17])
	oddRights[0] = 17 // its length: a quarter of a descriptor
	f.Add(uint32(uapi.CtlRegion), uint32(1), reply[:uapi.CtlReplySize], rights, 0)
	f.Add(uint32(uapi.CtlRegion), uint32(1), reply[:uapi.CtlReplySize], append(rights, rights...), 0)
	f.Add(uint32(uapi.CtlRegion), uint32(1), reply, rights[:len(rights)-5], unix.MSG_CTRUNC)
	f.Add(uint32(uapi.CtlRegion), uint32(1), reply, append(rights, 1), 0)
	f.Add(uint32(uapi.CtlRegion), uint32(1), reply, binary.NativeEndian.AppendUint64(nil, 17), 0)
	f.Add(uint32(uapi.CtlRegion), uint32(1), reply, oddRights, 0)
	f.Add(uint32(uapi.CtlStats), uint32(0), reply, []byte{}, 0)
	f.Add(uint32(uapi.CtlStats), uint32(0), reply, []byte{}, unix.MSG_TRUNC)
	f.Fuzz(func(t *testing.T, op, region uint32, data, oob []byte, flags int) {
		a, err := message{data: data, oob: oob, flags: flags}.parse() // closes nothing: the numbers are invented
		if err == nil {
			err = a.refusal()
		}
		if err == nil {
			err = a.check(uapi.CtlRequest{Op: op, Region: region})
		}
		if err != nil {
			return
		}
		if a.reply.Error != 0 || a.reply.Length > 1<<63-1 {
			t.Fatalf("accepted %+v", a)
		}
		passes := op == uapi.CtlRegion || op == uapi.CtlDMABuf
		if passes && (len(a.fds) != 1 || a.reply.Region != region || len(a.body) != 0) {
			t.Fatalf("accepted as a region %+v", a)
		}
		if !passes && (len(a.fds) != 0 || uint64(len(a.body)) != a.reply.Length) {
			t.Fatalf("accepted as stats %+v", a)
		}
	})
}
