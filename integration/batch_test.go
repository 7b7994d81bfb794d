package integration

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hbmfs/fs/client"
	"hbmfs/fs/uapi"
)

// openDir opens a directory of the mount for batches, until the test ends.
func (m *mount) openDir(name string) *client.Dir {
	m.t.Helper()
	c, err := client.OpenMount(m.dir)
	must(m.t, err)
	m.t.Cleanup(func() { c.Close() })
	d, err := c.OpenDir(m.path(name))
	must(m.t, err)
	m.t.Cleanup(func() { d.Close() })
	return d
}

// bytesOf returns a copy of what a result has in device memory.
func bytesOf(f interface {
	Bytes(client.Segment) ([]byte, error)
}, r *client.Result, off int64) ([]byte, error) {
	var all []byte
	for _, s := range r.Segments {
		b, err := f.Bytes(s)
		if err != nil {
			return nil, err
		}
		if s.FileOffset != off+int64(len(all)) || s.Length == 0 {
			return nil, fmt.Errorf("segment %+v does not follow the %d bytes before it", s, len(all))
		}
		all = append(all, b...)
	}
	if int64(len(all)) != r.Fetched {
		return nil, fmt.Errorf("%d bytes fetched, %d in segments", r.Fetched, len(all))
	}
	return all, nil
}

// nothingLeased waits until the mount has let go of everything.
func (r *rig) nothingLeased() {
	r.t.Helper()
	eventually(r.t, "nothing is leased", func() error {
		if s := r.stats().Cache; s.Leases != 0 {
			return fmt.Errorf("%d leases", s.Leases)
		}
		return nil
	})
}

// TestBatchOfFiles: hundreds of files by name, in few calls and few messages, with the
// right bytes, cold and resident; and one that is missing harms no other.
func TestBatchOfFiles(t *testing.T) {
	const files, size = 400, 9_000
	r := startRig(t)
	must(t, unix.Mkdir(path.Join(r.src, "d"), 0o755))
	wants := make([]client.Want, files)
	for i := range files {
		name := path.Join("d", strconv.Itoa(i))
		if i%100 == 7 {
			name = "d/none"
		} else {
			r.write(name, i, size+int64(i))
		}
		wants[i] = client.Want{Name: name, Length: 1 << 20}
	}
	d := r.openDir(".")
	for _, pass := range []string{"cold", "resident"} {
		before := r.stats()
		calls := 0
		var b client.Batch
		for done := 0; done < files; calls++ {
			must(t, d.FetchFiles(t.Context(), &b, wants[done:], client.BatchOptions{Release: b.Handle}))
			for i := range b.Results {
				n, got := done+i, &b.Results[i]
				if n%100 == 7 {
					if !errors.Is(got.Err, unix.ENOENT) || len(got.Segments) != 0 {
						t.Errorf("%s: a file that is not there: %+v", pass, got)
					}
					continue
				}
				must(t, got.Err)
				data, err := bytesOf(d, got, 0)
				must(t, err)
				checkTagged(t, data, n, 1, 0)
				if got.FileSize != size+int64(n) || got.Fetched != got.FileSize || got.More || got.Unsettled || got.Segments[0].Hit != (pass == "resident") {
					t.Errorf("%s: file %d: %+v", pass, n, got)
				}
			}
			done += len(b.Results)
		}
		after := r.stats()
		t.Logf("%s: %d calls, %d messages", pass, calls, after.Target.RoundTrips-before.Target.RoundTrips)
		if held := after.Cache.Leases; held == 0 {
			t.Errorf("%s: nothing is leased", pass)
		}
		must(t, d.Release(b.Handle))
		r.nothingLeased()
	}
}

// TestBatchOfRanges: many ranges of one file, each with its own result; names are for
// directories.
func TestBatchOfRanges(t *testing.T) {
	const size = 5<<20 + 123
	r := startRig(t)
	f := r.openFile(r.write("0", 0, size))
	wants := []client.Want{
		{Offset: 0, Length: 4096},
		{Offset: 1<<20 - 100, Length: 200},
		{Offset: 4097, Length: 3 << 20},
		{Offset: size - 10, Length: 1000},
		{Offset: size, Length: 10},
		{Offset: -1, Length: 10},
		{Offset: 4096, Length: 1 << 40},
	}
	var b client.Batch
	must(t, f.FetchRanges(t.Context(), &b, wants, client.BatchOptions{}))
	calls := int64(1)
	for i, want := range []struct {
		fetched int64
		errno   error
	}{{4096, nil}, {200, nil}, {3 << 20, nil}, {10, nil}, {0, nil}, {0, unix.EINVAL}, {size - 4096, nil}} {
		got := &b.Results[i]
		data, err := bytesOf(f, got, wants[i].Offset)
		must(t, err)
		checkTagged(t, data, 0, 1, wants[i].Offset)
		fetched, more, next := got.Fetched, got.More, got.Cursor
		for more && next == wants[i].Offset+fetched && next < size { // what others fetched meanwhile took the room for segments
			calls++
			var rest client.Batch
			must(t, f.FetchRanges(t.Context(), &rest, []client.Want{{Offset: next, Length: size - next}}, client.BatchOptions{}))
			data, err := bytesOf(f, &rest.Results[0], next)
			must(t, err)
			checkTagged(t, data, 0, 1, next)
			must(t, f.Release(rest.Handle))
			fetched, more, next = fetched+rest.Results[0].Fetched, rest.Results[0].More, rest.Results[0].Cursor
		}
		if fetched != want.fetched || more || !errors.Is(got.Err, want.errno) {
			t.Errorf("%+v: %+v", wants[i], got)
		}
	}
	if b.Failed != 1 {
		t.Errorf("%d failed", b.Failed)
	}
	handle := b.Handle
	named := []client.Want{{Name: "0", Length: 10}}
	if err := f.FetchRanges(t.Context(), &b, named, client.BatchOptions{Release: handle}); !errors.Is(err, unix.EINVAL) || b.Handle != handle {
		t.Errorf("a range with a name: %v, %+v", err, b)
	}
	if s := r.stats(); s.Batches != calls || s.BatchEntries != int64(len(wants))+calls-1 {
		t.Errorf("%d batches of %d entries are counted", s.Batches, s.BatchEntries)
	}
	must(t, f.Release(b.Handle))
	if err := f.Release(b.Handle); !errors.Is(err, unix.ENOENT) {
		t.Errorf("released twice: %v", err)
	}
	r.nothingLeased()
}

// TestBatchRoom: where there is no room for all segments, who has none is told where to
// go on, and in the end all has come.
func TestBatchRoom(t *testing.T) {
	const size = 4 << 20
	r := startRig(t)
	f := r.openFile(r.write("0", 0, size))
	got := make([]int64, 6) // how much of each range came
	for round := 0; ; round++ {
		var wants []client.Want
		var of []int
		for i, n := range got {
			if n < size {
				wants, of = append(wants, client.Want{Offset: n, Length: size - n}), append(of, i)
			}
		}
		if len(wants) == 0 {
			break
		}
		if round > 50 {
			t.Fatalf("%v after %d calls", got, round)
		}
		var b client.Batch
		must(t, f.FetchRanges(t.Context(), &b, wants, client.BatchOptions{Segments: 4}))
		for i := range b.Results {
			res := &b.Results[i]
			must(t, res.Err)
			data, err := bytesOf(f, res, wants[i].Offset)
			must(t, err)
			checkTagged(t, data, 0, 1, wants[i].Offset)
			got[of[i]] += res.Fetched
			if res.More != (got[of[i]] < size) || res.More && res.Cursor != got[of[i]] || i < 4 && res.Fetched == 0 {
				t.Fatalf("%+v, and %d have come", res, got[of[i]])
			}
		}
		must(t, f.Release(b.Handle))
	}
	r.nothingLeased()
}

// openFile opens a file of the mount, until the test ends.
func (m *mount) openFile(path string) *client.File {
	m.t.Helper()
	f, err := client.Open(m.path(filepath.Base(path)))
	must(m.t, err)
	m.t.Cleanup(func() { f.Close() })
	return f
}

// TestBatchEndsWithHolder: what a batch pins on a directory lives with the open directory:
// it goes by close, and by kill -9.
func TestBatchEndsWithHolder(t *testing.T) {
	r := startRig(t)
	for i := range 8 {
		r.write(strconv.Itoa(i), i, 100_000)
	}
	cmd := child(t, "hold-batch", 0, r.dir)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "held\n" {
		t.Fatalf("%q, %v", line, err)
	}
	if s := r.stats().Cache; s.Leases != 8 {
		t.Errorf("%d leases, want 8", s.Leases)
	}
	must(t, cmd.Process.Kill())
	_ = cmd.Wait()
	r.nothingLeased()
}

func init() { children["hold-batch"] = holdBatch }

func holdBatch(args []string) error {
	m, err := client.OpenMount(args[0])
	if err != nil {
		return err
	}
	d, err := m.OpenDir(args[0])
	if err != nil {
		return err
	}
	var b client.Batch
	var wants []client.Want
	for i := range 8 {
		wants = append(wants, client.Want{Name: strconv.Itoa(i), Length: 1 << 20})
	}
	if err := d.FetchFiles(context.Background(), &b, wants, client.BatchOptions{}); err != nil || b.Failed > 0 {
		return fmt.Errorf("%d failed, %w", b.Failed, err)
	}
	fmt.Println("held")
	time.Sleep(time.Minute)
	return nil
}

// TestBatchNeverOld: a file that was replaced, or written to, before a batch began is in
// its new version in it, also where the old one is in device memory and open at the target.
func TestBatchNeverOld(t *testing.T) {
	const files, size, versions = 20, 20_000, 30
	r := startRig(t)
	d := r.openDir(".")
	wants := make([]client.Want, files)
	for i := range wants {
		wants[i] = client.Want{Name: strconv.Itoa(i), Length: size}
		r.write(wants[i].Name, i, size)
	}
	var b client.Batch
	for version := 1; version <= versions; version++ {
		for i := range files {
			at := filepath.Join(r.src, wants[i].Name)
			if (i+version)%3 > 0 {
				writeTagged(t, at, i, version, size)
				continue
			}
			writeTagged(t, at+".new", i, version, size)
			must(t, os.Rename(at+".new", at))
		}
		must(t, d.FetchFiles(t.Context(), &b, wants, client.BatchOptions{Release: b.Handle}))
		for i := range b.Results {
			must(t, b.Results[i].Err)
			data, err := bytesOf(d, &b.Results[i], 0)
			must(t, err)
			checkTagged(t, data, i, version, 0)
		}
	}
}

// TestBatchWhileReplaced: names that are replaced all the time lead to one version, whole,
// and never to one that was gone before the batch began.
func TestBatchWhileReplaced(t *testing.T) {
	const files, size = 8, 50_000
	r := startRig(t)
	d := r.openDir(".")
	wants := make([]client.Want, files)
	for i := range wants {
		wants[i] = client.Want{Name: strconv.Itoa(i), Length: size}
		r.write(wants[i].Name, i, size)
	}
	var now atomic.Int64
	now.Store(1)
	stop := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() {
		for version := 2; version < 250; version++ {
			for i := range files {
				at := filepath.Join(r.src, wants[i].Name)
				writeTagged(t, at+".new", i, version, size)
				if err := os.Rename(at+".new", at); err != nil {
					t.Error(err)
				}
			}
			now.Store(int64(version))
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	defer writer.Wait()
	defer close(stop)
	var b client.Batch
	for range 100 {
		least := int(now.Load())
		must(t, d.FetchFiles(t.Context(), &b, wants, client.BatchOptions{Release: b.Handle}))
		for i := range b.Results {
			got := &b.Results[i]
			if errors.Is(got.Err, unix.ESTALE) {
				continue
			}
			must(t, got.Err)
			data, err := bytesOf(d, got, 0)
			must(t, err)
			version := int(tagPart(data, 2, 1))
			if version < least {
				t.Fatalf("file %d is of version %d, and was %d before", i, version, least)
			}
			checkTagged(t, data, i, version, 0)
		}
	}
}

// TestHostileBatch: what contradicts itself is refused, whatever it is called on, and
// harms nobody.
func TestHostileBatch(t *testing.T) {
	r := startRig(t)
	r.write("0", 0, 10_000)
	dir := mustOpen(t, r.dir, os.O_RDONLY)
	file := mustOpen(t, r.path("0"), os.O_RDONLY)
	base := uapi.Batch{Size: uint32(uapi.BatchSize), EntryCount: 1, SegmentRoom: 1, NameBytes: 1}
	entry := uapi.BatchEntry{Length: 100}
	for name, c := range map[string]struct {
		change func(*uapi.Batch, []byte)
		errno  error
	}{
		"as it should be":   {func(*uapi.Batch, []byte) {}, nil},
		"no entries":        {func(b *uapi.Batch, _ []byte) { b.EntryCount = 0 }, unix.EINVAL},
		"many entries":      {func(b *uapi.Batch, _ []byte) { b.EntryCount = math.MaxUint32 }, unix.EINVAL},
		"no room":           {func(b *uapi.Batch, _ []byte) { b.SegmentRoom = 0 }, unix.EINVAL},
		"much room":         {func(b *uapi.Batch, _ []byte) { b.SegmentRoom = math.MaxUint32 }, unix.EINVAL},
		"long names":        {func(b *uapi.Batch, _ []byte) { b.NameBytes = math.MaxUint32 }, unix.EINVAL},
		"no names":          {func(b *uapi.Batch, _ []byte) { b.NameBytes = 0 }, unix.EINVAL},
		"a flag":            {func(b *uapi.Batch, _ []byte) { b.Flags = uapi.FetchLoan }, unix.EINVAL},
		"another device":    {func(b *uapi.Batch, _ []byte) { b.Device = 77 }, unix.ENODEV},
		"no such handle":    {func(b *uapi.Batch, _ []byte) { b.Release = 1 << 60 }, unix.ENOENT},
		"a name outside":    {func(_ *uapi.Batch, in []byte) { in[uapi.BatchSize+40] = 1 }, unix.EINVAL},
		"a name too long":   {func(_ *uapi.Batch, in []byte) { in[uapi.BatchSize+42] = 2 }, unix.EINVAL},
		"an entry's flag":   {func(_ *uapi.Batch, in []byte) { in[uapi.BatchSize+44] = 1 }, unix.EINVAL},
		"an output is full": {func(_ *uapi.Batch, in []byte) { in[uapi.BatchSize+16], in[uapi.BatchSize+48] = 1, 1 }, nil},
	} {
		in := make([]byte, uapi.BatchLen(1, 1, 1))
		uapi.EncodeBatch(in, &base, func(int) (uapi.BatchEntry, string) { return entry, "0" })
		b := base
		c.change(&b, in)
		head, err := binary.Append(nil, binary.NativeEndian, &b)
		must(t, err)
		copy(in, head)
		if err := ioctlBytes(file, uapi.IocBatch(len(in)), slices.Clone(in)); !errors.Is(err, unix.EINVAL) {
			t.Errorf("%s, on a file, which has no names: %v", name, err)
		}
		err = ioctlBytes(dir, uapi.IocBatch(len(in)), in)
		if !errors.Is(err, c.errno) {
			t.Errorf("%s: %v, want %v", name, err, c.errno)
		}
		if err != nil {
			continue
		}
		reply, err := uapi.DecodeBatchReply(in, 1, 1)
		must(t, err)
		e, _, err := reply.Entry(0)
		must(t, err)
		if e.Error != 0 || e.Fetched != 100 || reply.Handle == 0 {
			t.Errorf("%s: %+v, %+v", name, reply.Batch, e)
		}
	}
	must(t, dir.Close())
	r.nothingLeased()
}

// TestBatchAboveDatasets: a directory that is no dataset's has no files.
func TestBatchAboveDatasets(t *testing.T) {
	src := t.TempDir()
	writeTagged(t, filepath.Join(src, "0"), 0, 1, 100)
	_, addr := startTarget(t, "127.0.0.1:0", "a="+src, "b="+src)
	m := startMount(t, addr)
	for name, want := range map[string]error{".": unix.EOPNOTSUPP, ".hbmfs": unix.EOPNOTSUPP, "a": nil} {
		var b client.Batch
		err := m.openDir(name).FetchFiles(t.Context(), &b, []client.Want{{Name: "0", Length: 100}}, client.BatchOptions{})
		if !errors.Is(err, want) || err == nil && b.Failed > 0 {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
}
