package integration

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hbmfs/fs/client"
	"hbmfs/fs/uapi"
)

// extent is small in these tests, so that small files have many.
const extent = 64 << 10

// small are the flags of a mount whose pool has room for n extents.
func small(n int) []string {
	return []string{"--extent", strconv.Itoa(extent), "--pool", strconv.Itoa(n * extent)}
}

// writeNumbered writes a tagged file whose name is its number.
func writeNumbered(t *testing.T, dir string, number int, size int64) {
	t.Helper()
	writeTagged(t, filepath.Join(dir, strconv.Itoa(number)), number, 1, size)
}

// numberOf is the number of a file that writeNumbered wrote.
func numberOf(path string) int {
	n, err := strconv.Atoi(filepath.Base(path))
	if err != nil {
		panic(err)
	}
	return n
}

func openFile(t *testing.T, path string) *client.File {
	t.Helper()
	f, err := client.Open(path)
	must(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

// awaitLeases waits until the mount holds n of them: a close is told to the daemon
// after it has returned.
func (m *mount) awaitLeases(n int64) {
	m.t.Helper()
	eventually(m.t, fmt.Sprintf("%d leases", n), func() error {
		if got := m.stats().Cache.Leases; got != n {
			return fmt.Errorf("%d leases", got)
		}
		return nil
	})
}

// how is how bytes come from the two sources.
var how = map[string]struct {
	path uapi.Path
	why  uapi.Reason
}{
	"tcp":      {uapi.PathStaged, uapi.WhyNoDirect},
	"embedded": {uapi.PathHost, uapi.WhyLocalSource},
}

// TestFetchRanges: the bytes of every kind of range of every kind of file size,
// where they came from, and that the second fetch finds them.
func TestFetchRanges(t *testing.T) {
	sizes := []int64{0, 1, 4095, extent - 1, extent, extent + 1, 3*extent + 12345}
	src := t.TempDir()
	for i, size := range sizes {
		writeNumbered(t, src, i, size)
	}
	for via, source := range sources(t, src) {
		for _, access := range []client.Access{client.Random, client.Sequential} {
			m := startMount(t, source, small(64)...)
			for i, size := range sizes {
				t.Run(fmt.Sprintf("%s/%d/%d", via, access, size), func(t *testing.T) {
					c := rangeCheck{t: t, f: openFile(t, m.path(strconv.Itoa(i))), via: via, access: access, file: i, size: size}
					for _, r := range c.ranges() {
						c.check(r[0], r[1])
					}
				})
			}
			s := m.stats().Cache
			if s.Leases != 0 || s.LeasedBytes != 0 || s.Errors != 0 {
				t.Errorf("%s: after every release: %+v", via, s)
			}
		}
	}
}

// rangeCheck fetches ranges of one file.
type rangeCheck struct {
	t      *testing.T
	f      *client.File
	via    string
	access client.Access
	file   int
	size   int64
	seen   [][2]int64 // what was fetched, from and to
}

func (c *rangeCheck) ranges() [][2]int64 {
	all := [][2]int64{
		{0, 0}, {7, 11}, {extent - 1, 2}, {extent, extent}, {extent + 7, 2 * extent}, {4096, 4096},
		{c.size / 2, 1}, {c.size, 1}, {c.size + 1, 4096}, {math.MaxInt64 - 1, 1}, {1 << 62, 1 << 61},
		{0, c.size}, {0, c.size + 100}, {1, math.MaxInt64 - 1},
	}
	if c.size > 0 {
		all = append(all, [2]int64{c.size - 1, 1}, [2]int64{c.size - 1, 100})
	}
	return all
}

func (c *rangeCheck) check(off, n int64) {
	c.t.Helper()
	want := max(0, min(n, c.size-off))
	r := pin(c.t, c.f, off, n, client.FetchOptions{Access: c.access})
	if r.Fetched != want || r.Cursor != 0 || r.FileSize != c.size || r.Unsettled {
		c.t.Fatalf("[%d, +%d): %+v, want %d bytes of %d", off, n, r.Lease, want, c.size)
	}
	if want == 0 {
		if r.Path != uapi.PathNone {
			c.t.Errorf("[%d, +%d): no bytes came by %v", off, n, r.Path)
		}
		return
	}
	checkTagged(c.t, r.data, c.file, 1, off)
	if h := how[c.via]; r.Path != h.path || r.Why != h.why {
		c.t.Errorf("[%d, +%d): path %v because %q, want %v because %q", off, n, r.Path, r.Why, h.path, h.why)
	}
	c.checkSegments(r)
	if err := c.f.Release(r.Handle); err != nil {
		c.t.Error(err)
	}
}

// checkSegments: one for each extent, with a hit where it was fetched before; and
// just one of what is less than an extent long, but in a run.
func (c *rangeCheck) checkSegments(r fetched) {
	c.t.Helper()
	if c.access == client.Random && r.Fetched < extent && len(r.Segments) != 1 {
		c.t.Errorf("%d bytes are in pieces: %+v", r.Fetched, r.Segments)
	}
	for _, s := range r.Segments {
		from, to := s.FileOffset, s.FileOffset+s.Length
		seen := slices.ContainsFunc(c.seen, func(o [2]int64) bool { return o[0] <= from && to <= o[1] })
		if s.Hit != seen || s.Path != r.Path {
			c.t.Errorf("segment %+v, which was fetched before: %v", s, seen)
		}
		if c.access == client.Sequential {
			from -= from % extent
			to = from + extent
		}
		c.seen = append(c.seen, [2]int64{from, to})
	}
}

// TestFetchSamples: random samples are fetched as what they are, each in one piece,
// and found again; one after the other, they are taken for a run.
func TestFetchSamples(t *testing.T) {
	const size, sample = 64 * extent, 5000
	src := t.TempDir()
	writeNumbered(t, src, 1, size)
	for via, source := range sources(t, src) {
		t.Run(via, func(t *testing.T) {
			m := startMount(t, source, small(128)...)
			f := openFile(t, m.path("1"))
			rnd := rand.New(rand.NewPCG(1, 1))
			order := rnd.Perm(100)
			for epoch := range 2 {
				for _, i := range order {
					at := int64(i) * 40000
					r := pin(t, f, at, sample, client.FetchOptions{})
					checkTagged(t, r.data, 1, 1, at)
					if len(r.Segments) != 1 || r.Segments[0].Hit != (epoch == 1) {
						t.Fatalf("epoch %d, sample %d: %+v", epoch, i, r.Segments)
					}
				}
			}
			if s := m.stats().Cache; s.Bytes[how[via].path] != 100*sample || s.Asked != 200*sample || s.SlotBytes > 100*sample*9/8 {
				t.Errorf("%d samples of %d: %+v", 100, sample, s)
			}
			before := m.stats().Cache.Misses
			run := openFile(t, m.path("1"))
			for at := int64(0); at < 2*extent; at += 4096 {
				checkTagged(t, pin(t, run, at, 4096, client.FetchOptions{}).data, 1, 1, at)
			}
			if n := m.stats().Cache.Misses - before; n != 2 {
				t.Errorf("a run through two extents had %d misses", n)
			}
		})
	}
}

// TestFetchContinues: a range that needs more segments than there is room for is
// answered in part; each FETCH releases the one before.
func TestFetchContinues(t *testing.T) {
	const size, off = 5*extent + 100, 7
	src := t.TempDir()
	writeNumbered(t, src, 1, size)
	m := startMount(t, src, small(64)...)
	f := openFile(t, m.path("1"))
	var at, rounds int64 = off, 0
	var before uint64
	for at != 0 {
		r := pin(t, f, at, size-at, client.FetchOptions{MaxSegments: 2, Release: before})
		rounds++
		checkTagged(t, r.data, 1, 1, at)
		if r.Cursor != 0 && r.Cursor != at+r.Fetched {
			t.Fatalf("%d bytes at %d go on from %d", r.Fetched, at, r.Cursor)
		}
		if r.Cursor == 0 && at+r.Fetched != size {
			t.Fatalf("the last FETCH ends at %d of %d", at+r.Fetched, size)
		}
		if n := m.stats().Cache.Leases; n != 1 {
			t.Errorf("%d leases after FETCH %d, want 1", n, rounds)
		}
		if err := f.Release(before); before != 0 && !errors.Is(err, unix.ENOENT) {
			t.Errorf("release what a FETCH released: %v, want ENOENT", err)
		}
		at, before = r.Cursor, r.Handle
	}
	if rounds != 3 {
		t.Errorf("6 extents, 2 at a time, took %d fetches", rounds)
	}
}

// TestLeasesPin: what is leased stays as it is and where it is, while other
// processes pull file after file through the rest of a small pool.
func TestLeasesPin(t *testing.T) {
	const size = 6*extent + 1000
	src := t.TempDir()
	for i := range 4 {
		writeNumbered(t, src, i, size)
	}
	for via, source := range sources(t, src) {
		t.Run(via, func(t *testing.T) {
			m := startMount(t, source, small(8)...)
			f := openFile(t, m.path("0"))
			held := []fetched{
				pin(t, f, 100, 2*extent, client.FetchOptions{}), // three extents
				pin(t, f, size-500, 500, client.FetchOptions{}), // a sample
			}
			churns := []*process{
				start(t, child(t, "churn", 0, "60", m.path("1"), m.path("2"), m.path("3"))),
				start(t, child(t, "churn", 0, "60", m.path("3"), m.path("2"), m.path("1"))),
			}
			for _, p := range churns {
				for running := true; running; {
					running = !p.ended()
					checkHeld(t, f, held)
				}
				if p.err != nil {
					t.Errorf("%v: %v", p.Args[1:], p.err)
				}
			}
			m.awaitLeases(2)
			if s := m.stats().Cache; s.Evictions == 0 || s.LeasedBytes != 2*extent+500 {
				t.Errorf("%d evictions, %d bytes leased", s.Evictions, s.LeasedBytes)
			}
			if r := pin(t, f, 100, 2*extent, client.FetchOptions{}); !r.Segments[0].Hit || r.Segments[0].RegionOffset != held[0].Segments[0].RegionOffset {
				t.Errorf("what is leased was fetched again: %+v", r.Segments)
			}
		})
	}
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// checkHeld reads the leased segments again.
func checkHeld(t *testing.T, f *client.File, held []fetched) {
	t.Helper()
	for _, h := range held {
		for _, s := range h.Segments {
			b, err := f.Bytes(s)
			must(t, err)
			checkTagged(t, b, 0, 1, s.FileOffset)
		}
	}
}

func init() {
	children["churn"] = churn
	children["fetch"] = fetchWhole
	children["hold"] = hold
	children["inherit"] = inherit
}

// churn ROUNDS FILE... fetches the files over and over, an extent at a time, and
// checks what came twice: when it came, and before it is let go.
func churn(args []string) error {
	rounds, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	for i := range rounds {
		if err := churnFile(args[1+i%len(args[1:])]); err != nil {
			return err
		}
	}
	return nil
}

func churnFile(path string) error {
	f, err := client.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	var at int64
	for before := uint64(0); ; {
		r, err := tryPin(f, at, extent, client.FetchOptions{Release: before})
		if err != nil || r.Fetched == 0 {
			return err
		}
		if err := wrongWord(r.data, numberOf(path), 1, at); err != nil {
			return err
		}
		b, err := f.Bytes(r.Segments[0])
		if err != nil {
			return err
		}
		if err := wrongWord(b, numberOf(path), 1, at); err != nil {
			return fmt.Errorf("while it was leased: %w", err)
		}
		at, before = at+r.Fetched, r.Handle
	}
}

// TestPinnedPoolIsFull: where too much is pinned, FETCH fails at once and nothing
// has changed; what is there still works, and the rest once there is room.
func TestPinnedPoolIsFull(t *testing.T) {
	const size = 4 * extent
	src := t.TempDir()
	writeNumbered(t, src, 1, size)
	writeNumbered(t, src, 2, size+1)
	m := startMount(t, src, small(4)...)
	one, two := openFile(t, m.path("1")), openFile(t, m.path("2"))

	held := pin(t, one, 0, 3*extent, client.FetchOptions{})
	last := pin(t, two, size-extent, extent, client.FetchOptions{})
	checkFull(t, m, two, 0, 1)
	checkFull(t, m, two, size-2*extent, 2*extent) // a miss and a hit
	checkFull(t, m, one, 0, size)                 // three hits and a miss
	again := pin(t, one, extent, 2*extent, client.FetchOptions{})
	checkTagged(t, again.data, 1, 1, extent)
	err := one.Release(again.Handle)
	must(t, err)

	// What a FETCH releases stays released when it fails.
	if _, err := one.Fetch(context.Background(), 0, size, client.FetchOptions{Release: held.Handle}); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("FETCH: %v, want ENOSPC", err)
	}
	if err := one.Release(held.Handle); !errors.Is(err, unix.ENOENT) {
		t.Errorf("RELEASE of what the FETCH released: %v, want ENOENT", err)
	}
	err = two.Release(last.Handle)
	must(t, err)
	all := pin(t, one, 0, size, client.FetchOptions{})
	checkTagged(t, all.data, 1, 1, 0)
	if !all.Segments[2].Hit || all.Segments[3].Hit {
		t.Errorf("three extents were there, the last was not: %+v", all.Segments)
	}
	err = one.Release(all.Handle)
	must(t, err)
	checkFull(t, m, two, 0, size+1) // nothing is pinned, but it can't ever fit
}

func checkFull(t *testing.T, m *mount, f *client.File, off, n int64) {
	t.Helper()
	before := m.stats().Cache
	var err error
	within(t, 5*time.Second, "a FETCH that does not fit", func() {
		_, err = f.Fetch(context.Background(), off, n, client.FetchOptions{})
	})
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("FETCH: %v, want ENOSPC", err)
	}
	if after := m.stats().Cache; after != before {
		t.Errorf("ENOSPC changed the pool:\n%+v\n%+v", before, after)
	}
}

// TestSingleFlight: many processes that want the same cold file have it fetched
// once.
func TestSingleFlight(t *testing.T) {
	const n, processes = 32, 8
	src := t.TempDir()
	writeNumbered(t, src, 1, n*extent)
	for via, source := range sources(t, src) {
		t.Run(via, func(t *testing.T) {
			m := startMount(t, source, small(64)...)
			starter, hold, err := os.Pipe()
			must(t, err)
			var all []*process
			for range processes {
				cmd := child(t, "fetch", 0, m.path("1"))
				cmd.Stdin = starter
				all = append(all, start(t, cmd))
			}
			must(t, starter.Close())
			for _, p := range all {
				p.line("ready")
			}
			must(t, hold.Close())
			for _, p := range all {
				if <-p.done; p.err != nil {
					t.Errorf("a process failed: %v", p.err)
				}
			}
			m.awaitLeases(0)
			s := m.stats()
			// A FETCH that a signal of Go's interrupts is asked again, and counts twice.
			if c := s.Cache; c.Misses != n || c.Hits+c.Joined < (processes-1)*n {
				t.Errorf("%d misses, %d hits, %d joined", c.Misses, c.Hits, c.Joined)
			}
			if got := s.Cache.Bytes[how[via].path]; got != n*extent || s.Target.Bytes != s.Cache.Bytes {
				t.Errorf("%d bytes came, want %d; the target counts %v", got, n*extent, s.Target.Bytes)
			}
		})
	}
}

// fetchWhole FILE fetches a file and checks it, once standard input ends.
func fetchWhole(args []string) error {
	fmt.Println("ready")
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	b, err := tryFetchAll(args[0], 0, math.MaxInt64)
	if err != nil {
		return err
	}
	info, err := os.Stat(args[0])
	if err == nil && info.Size() != int64(len(b)) {
		err = fmt.Errorf("%d bytes of %d", len(b), info.Size())
	}
	return errors.Join(err, wrongWord(b, numberOf(args[0]), 1, 0))
}

// TestFileLargerThanPool streams a file through a pool of a few extents.
func TestFileLargerThanPool(t *testing.T) {
	const size = 40*extent + 123
	src := t.TempDir()
	writeNumbered(t, src, 1, size)
	for via, source := range sources(t, src) {
		t.Run(via, func(t *testing.T) {
			m := startMount(t, source, small(4)...)
			f := openFile(t, m.path("1"))
			var r fetched
			for at := int64(0); at < size; at += r.Fetched {
				r = pin(t, f, at, size-at, client.FetchOptions{MaxSegments: 4, Release: r.handle()})
				checkTagged(t, r.data, 1, 1, at)
			}
			if s := m.stats().Cache; s.Evictions < 37 || s.RegionBytes != 4*extent || s.Leases != 1 {
				t.Errorf("after the stream: %+v", s)
			}
		})
	}
}

// handle is that of the fetch; 0 if there was none.
func (r fetched) handle() uint64 {
	if r.Lease == nil {
		return 0
	}
	return r.Handle
}

// TestLeasesEndWithTheirFile: by close, by the death of the process, and only
// with the last descriptor.
func TestLeasesEndWithTheirFile(t *testing.T) {
	src := t.TempDir()
	writeNumbered(t, src, 1, 4*extent)
	for via, source := range sources(t, src) {
		m := startMount(t, source, small(16)...)
		t.Run(via+"/close", func(t *testing.T) {
			f, err := client.Open(m.path("1"))
			must(t, err)
			for i := range int64(3) {
				pin(t, f, i*extent, extent, client.FetchOptions{})
			}
			if s := m.stats().Cache; s.Leases != 3 || s.LeasedBytes != 3*extent {
				t.Errorf("three fetches: %+v", s)
			}
			must(t, f.Close())
			m.awaitLeases(0)
		})
		t.Run(via+"/kill", func(t *testing.T) {
			p := start(t, child(t, "hold", 0, m.path("1")))
			p.line("holding")
			if s := m.stats().Cache; s.Leases != 2 || s.LeasedBytes != 3*extent {
				t.Errorf("a process that holds two: %+v", s)
			}
			p.kill(unix.SIGKILL)
			m.awaitLeases(0)
		})
		t.Run(via+"/fork", func(t *testing.T) { testInherited(t, m) })
	}
}

// hold FILE holds two leases until it is killed.
func hold(args []string) error {
	f, err := client.Open(args[0])
	if err != nil {
		return err
	}
	_, err1 := tryPin(f, 0, extent, client.FetchOptions{})
	_, err2 := tryPin(f, extent, 2*extent, client.FetchOptions{})
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	fmt.Println("holding")
	select {}
}

// testInherited: a child process that has the descriptor keeps the leases of
// both, until it ends too.
func testInherited(t *testing.T, m *mount) {
	file := mustOpen(t, m.path("1"), os.O_RDONLY)
	ours, err := ioctlFetch(file, 0, extent)
	must(t, err)
	cmd := child(t, "inherit", 0, strconv.FormatUint(ours.Handle, 10))
	cmd.ExtraFiles = []*os.File{file}
	stdin, err := cmd.StdinPipe()
	must(t, err)
	p := start(t, cmd)
	p.line("holding")
	must(t, file.Close())

	// Its close is told to the daemon before a later one is.
	later := mustOpen(t, m.path("1"), os.O_RDONLY)
	_, err = ioctlFetch(later, 0, extent)
	must(t, err)
	if n := m.stats().Cache.Leases; n != 3 {
		t.Errorf("%d leases, want one of the parent, one of the child and one later", n)
	}
	must(t, later.Close())
	m.awaitLeases(2)

	must(t, stdin.Close())
	if <-p.done; p.err != nil {
		t.Errorf("child: %v", p.err)
	}
	m.awaitLeases(0)
}

// inherit HANDLE has a file open that its parent opened. It takes a lease of its
// own, and when standard input ends, releases its parent's and ends.
func inherit(args []string) error {
	file := os.NewFile(3, "inherited")
	if _, err := ioctlFetch(file, extent, extent); err != nil {
		return err
	}
	fmt.Println("holding")
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	parents, err := strconv.ParseUint(args[0], 10, 64)
	if err != nil {
		return err
	}
	if n, err := ioctlRelease(file, parents); err != nil || n != 1 {
		return fmt.Errorf("release the parent's handle: %d, %w", n, err)
	}
	return nil
}

// TestFileSizeLimit: device memory is no file on a disk, whatever ulimit -f says,
// where that may be raised.
func TestFileSizeLimit(t *testing.T) {
	src := t.TempDir()
	writeNumbered(t, src, 1, 3<<20)
	dir := t.TempDir()
	script := `ulimit -Sf 64; "$0" mount "$1" "$2" && "$0" read --verify "$2/1"; code=$?; "$0" umount "$2"; exit $code`
	if out, err := exec.Command("bash", "-c", script, bin, src, dir).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
