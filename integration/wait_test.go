package integration

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/signal"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hbmfs/cache"
	"hbmfs/fs/client"
	"hbmfs/fs/uapi"
)

func init() {
	children["fill"] = fill
	children["waiter"] = waiter
}

// fill FILE N holds the first N extents of a file, a handle each. It releases one for
// each line on standard input, and holds the rest until it is killed.
func fill(args []string) error {
	f, err := client.Open(args[0])
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	var handles []uint64
	for i := range int64(n) {
		r, err := tryPin(f, i*extent, extent, client.FetchOptions{})
		if err != nil {
			return err
		}
		handles = append(handles, r.Handle)
	}
	fmt.Println("holding")
	for in := bufio.NewScanner(os.Stdin); in.Scan(); handles = handles[1:] {
		if err := f.Release(handles[0]); err != nil {
			return err
		}
	}
	select {}
}

// waiter FILE OFF N WAIT says how a FETCH that may wait ends, and holds what it got
// until standard input ends. It can be interrupted.
func waiter(args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	f, err := client.Open(args[0])
	if err != nil {
		return err
	}
	off, err1 := strconv.ParseInt(args[1], 10, 64)
	n, err2 := strconv.ParseInt(args[2], 10, 64)
	wait, err3 := time.ParseDuration(args[3])
	if err := errors.Join(err1, err2, err3); err != nil {
		return err
	}
	r, err := f.Fetch(ctx, off, n, client.FetchOptions{Wait: wait})
	if err != nil {
		fmt.Println("failed:", err)
		return nil
	}
	for _, s := range r.Segments {
		b, err := f.Bytes(s)
		if err == nil {
			err = wrongWord(b, numberOf(args[0]), 1, s.FileOffset)
		}
		if err != nil {
			return err
		}
	}
	fmt.Println("got", r.Fetched)
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// waitRig is a mount whose pool has four extents, all of them held by a process.
type waitRig struct {
	*mount
	t      *testing.T
	holder *process
	tell   io.Writer // a line has the holder release an extent
}

func startWaitRig(t *testing.T, source string) *waitRig {
	t.Helper()
	g := &waitRig{mount: startMount(t, source, small(4)...), t: t}
	g.fill()
	return g
}

func (g *waitRig) fill() {
	g.t.Helper()
	cmd := child(g.t, "fill", 0, g.path("1"), "4")
	in, err := cmd.StdinPipe()
	must(g.t, err)
	g.holder, g.tell = start(g.t, cmd), in
	g.holder.line("holding")
}

func (g *waitRig) releaseOne() {
	g.t.Helper()
	_, err := io.WriteString(g.tell, "release\n")
	must(g.t, err)
}

// wait starts a process that waits for n extents of file 2, and returns when it is the
// count'th that does. Closing done ends it.
func (g *waitRig) wait(at, n int64, wait string, count int) (p *process, done io.Closer) {
	g.t.Helper()
	cmd := child(g.t, "waiter", 0, g.path("2"), strconv.FormatInt(at*extent, 10), strconv.FormatInt(n*extent, 10), wait)
	in, err := cmd.StdinPipe()
	must(g.t, err)
	p = start(g.t, cmd)
	g.awaitWaiting(count)
	return p, in
}

func (g *waitRig) user() cache.UserStats {
	g.t.Helper()
	all := g.stats().Users
	if len(all) != 1 || all[0].UID != uint32(os.Getuid()) {
		g.t.Fatalf("users %+v", all)
	}
	return all[0]
}

func (g *waitRig) awaitWaiting(n int) {
	g.t.Helper()
	eventually(g.t, fmt.Sprintf("%d waiting", n), func() error {
		if u := g.user(); u.Waiting != n {
			return fmt.Errorf("%+v", u)
		}
		return nil
	})
}

// clean ends the holder, and checks that nothing of anybody is left.
func (g *waitRig) clean() {
	g.t.Helper()
	g.holder.kill(unix.SIGKILL)
	g.awaitLeases(0)
	if s, u := g.stats().Cache, g.user(); u.Waiting != 0 || u.LeasedBytes != 0 || s.LeasedBytes != 0 {
		g.t.Errorf("when all is over: %+v, %+v", u, s)
	}
	checkTagged(g.t, fetchAll(g.t, g.path("2"), 8*extent, 4*extent), 2, 1, 8*extent)
}

func waitSource(t *testing.T) string {
	t.Helper()
	src := t.TempDir()
	writeNumbered(t, src, 1, 4*extent)
	writeNumbered(t, src, 2, 16*extent)
	return src
}

// TestWaitForRoom: a FETCH that waits goes on, with the right bytes, when what another
// process holds is released: by RELEASE, or by its death.
func TestWaitForRoom(t *testing.T) {
	for via, source := range sources(t, waitSource(t)) {
		for how, end := range map[string]func(g *waitRig){
			"release": func(g *waitRig) { g.releaseOne(); g.releaseOne() },
			"kill":    func(g *waitRig) { g.holder.kill(unix.SIGKILL) },
		} {
			t.Run(via+"/"+how, func(t *testing.T) {
				g := startWaitRig(t, source)
				p, done := g.wait(0, 2, "1m", 1)
				end(g)
				p.line("got " + strconv.Itoa(2*extent))
				if u := g.user(); u.Waiting != 0 || u.Waits != 1 || u.WaitSeconds <= 0 {
					t.Errorf("%+v", u)
				}
				must(t, done.Close())
				<-p.done
				g.clean()
			})
		}
	}
}

// TestWaitersAreServedInOrder of their arrival, each as soon as it fits, and a FETCH that
// does not wait takes no room from them.
func TestWaitersAreServedInOrder(t *testing.T) {
	g := startWaitRig(t, waitSource(t))
	first, _ := g.wait(0, 1, "1m", 1)
	second, _ := g.wait(4, 1, "1m", 2)
	last, done := g.wait(6, 1, "1m", 3)
	if text, code := command(t, "stat", g.dir); code != 0 || !regexp.MustCompile(`uid \d+ device 0 +256.0 KiB of 256.0 KiB leased; waits for room: 3, 0.0 s in all, 3 now`).MatchString(text) {
		t.Errorf("stat: exit code %d, %s", code, text)
	}
	for i, p := range []*process{first, second, last} {
		g.releaseOne()
		p.line("got ")
		if u := g.user(); u.Waiting != 2-i {
			t.Errorf("after waiter %d: %+v", i, u)
		}
	}
	must(t, done.Close())
	first.kill(unix.SIGKILL)
	second.kill(unix.SIGKILL)
	<-last.done
	g.clean()
}

// TestWaitInVainSharesRoom: one that waits for what is not released has all room to itself
// for a few seconds only; then others have what fits, and it keeps its place.
func TestWaitInVainSharesRoom(t *testing.T) {
	g := startWaitRig(t, waitSource(t))
	f := openFile(t, g.path("2"))
	began := time.Now()
	large, done := g.wait(0, 2, "1m", 1)
	g.releaseOne()
	eventually(t, "an extent is released", func() error {
		if u := g.user(); u.LeasedBytes != 3*extent {
			return fmt.Errorf("%+v", u)
		}
		return nil
	})
	_, err := f.Fetch(t.Context(), 12*extent, 1, client.FetchOptions{})
	if alone := time.Since(began) < 5*time.Second; alone && !errors.Is(err, unix.ENOSPC) {
		t.Errorf("one that does not wait: %v, want ENOSPC", err)
	}
	eventually(t, "another has what is free", func() error {
		_, err := f.Fetch(t.Context(), 12*extent, 1, client.FetchOptions{})
		return err
	})
	_, err = f.ReleaseAll()
	must(t, err)
	if u := g.user(); u.Waiting != 1 {
		t.Errorf("%+v", u)
	}
	g.releaseOne()
	large.line("got " + strconv.Itoa(2*extent))
	must(t, done.Close())
	<-large.done
	g.clean()
}

// TestWaitBesidePins: what does not fit beside pins that last is not waited for.
func TestWaitBesidePins(t *testing.T) {
	g := &waitRig{mount: startMount(t, waitSource(t), small(8)...), t: t}
	f := openFile(t, g.path("2"))
	if _, err := f.Pin(t.Context(), 0, 4*extent, client.PinOptions{}); err != nil {
		t.Fatal(err)
	}
	within(t, 10*time.Second, "a FETCH that can't fit beside pins", func() {
		if _, err := f.Fetch(t.Context(), 4*extent, 5*extent, client.FetchOptions{Wait: time.Minute}); !errors.Is(err, unix.ENOSPC) {
			t.Errorf("%v, want ENOSPC", err)
		}
	})
	if u := g.user(); u.Waits != 0 {
		t.Errorf("%+v", u)
	}
}

// TestWaitEnds: a wait ends with its time, with a signal, and with the process, and
// nothing is left of it.
func TestWaitEnds(t *testing.T) {
	g := startWaitRig(t, waitSource(t))
	before := g.stats().Cache
	t.Run("time", func(t *testing.T) {
		began := time.Now()
		f := openFile(t, g.path("2"))
		_, err := f.Fetch(t.Context(), 0, extent, client.FetchOptions{Wait: 300 * time.Millisecond})
		if took := time.Since(began); !errors.Is(err, unix.ENOSPC) || took < 300*time.Millisecond {
			t.Errorf("after %v: %v, want ENOSPC", took, err)
		}
	})
	t.Run("signal", func(t *testing.T) {
		p, _ := g.wait(0, 1, "1m", 1)
		must(t, p.Process.Signal(unix.SIGINT))
		p.line("failed: ")
		if out := p.output(); !strings.Contains(out, "context canceled") {
			t.Errorf("SIGINT: %s", out)
		}
		g.awaitWaiting(0)
	})
	t.Run("death", func(t *testing.T) {
		p, _ := g.wait(0, 1, "1m", 1)
		within(t, 5*time.Second, "the death of who waits", func() { p.kill(unix.SIGKILL) })
		g.awaitWaiting(0)
	})
	if after := g.stats().Cache; after != before {
		t.Errorf("waiting in vain changed the pool:\n%+v\n%+v", before, after)
	}
	g.clean()
}

// TestWaitRefused: what could never fit does not wait, nor does what the ABI forbids; a
// loan that can't be had is a fetch, which waits.
func TestWaitRefused(t *testing.T) {
	g := startWaitRig(t, waitSource(t))
	f := openFile(t, g.path("2"))
	within(t, 10*time.Second, "a FETCH of more than the pool", func() {
		if _, err := f.Fetch(t.Context(), 0, math.MaxInt64, client.FetchOptions{Wait: time.Minute}); !errors.Is(err, unix.ENOSPC) {
			t.Errorf("more than the pool: %v, want ENOSPC", err)
		}
	})
	raw := mustOpen(t, g.path("2"), os.O_RDONLY)
	defer raw.Close()
	for what, c := range map[string]struct {
		head uapi.Fetch
		want error
	}{
		"a time without the flag": {uapi.Fetch{Length: 1, WaitMS: 1}, unix.EINVAL},
		"too long":                {uapi.Fetch{Length: 1, Flags: uapi.FetchWait, WaitMS: uapi.WaitMSMax + 1}, unix.EINVAL},
		"zero":                    {uapi.Fetch{Length: 1, Flags: uapi.FetchWait, Zero: 1}, unix.EINVAL},
		"no time":                 {uapi.Fetch{Length: 1, Flags: uapi.FetchWait}, unix.ENOSPC},
	} {
		if err := ioctlBytes(raw, uapi.IocFetch(1), fetchArg(c.head, 1)); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", what, err, c.want)
		}
	}
	go func() {
		g.awaitWaiting(1)
		g.releaseOne()
	}()
	r := pin(t, f, 0, extent, client.FetchOptions{Loan: true, Wait: time.Minute})
	if checkTagged(t, r.data, 2, 1, 0); r.Loan {
		t.Error("a loan by a mount that can't lend")
	}
	must(t, f.Release(r.Handle))
	g.clean()
}

// TestPoolsAreEachUsers: one who leases all of his pool, with the defaults of a mount,
// does not keep another user from fetching.
func TestPoolsAreEachUsers(t *testing.T) {
	const pool, window = 1 << 30, 16 << 20
	src := t.TempDir()
	writeNumbered(t, src, 2, 16*extent)
	must(t, os.WriteFile(src+"/holes", nil, 0o644))
	must(t, os.Truncate(src+"/holes", pool))
	openPath(t, src)
	m := startMount(t, src, "--allow-other")
	if d := m.stats().Devices[0]; d.Pool != pool {
		t.Fatalf("the pool is %d bytes", d.Pool)
	}
	f := openFile(t, m.path("holes"))
	for at := int64(0); at < pool; at += window {
		if r, err := f.Fetch(t.Context(), at, window, client.FetchOptions{MaxSegments: uapi.MaxSegments}); err != nil || r.Fetched != window {
			t.Fatalf("%d bytes at %d: %+v, %v", window, at, r, err)
		}
	}
	mine := openFile(t, m.path("2"))
	if _, err := mine.Fetch(t.Context(), 0, 1, client.FetchOptions{}); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("FETCH into a full pool: %v, want ENOSPC", err)
	}
	cmd := child(t, "waiter", 1000, m.path("2"), "0", strconv.Itoa(16*extent), "0s")
	in, err := cmd.StdinPipe()
	must(t, err)
	p := start(t, cmd)
	p.line("got " + strconv.Itoa(16*extent))
	users := m.stats().Users
	if len(users) != 2 || users[0].LeasedBytes != pool || users[1].UID != 1000 || users[1].LeasedBytes != 16*extent || users[1].Waits != 0 {
		t.Errorf("users %+v", users)
	}
	must(t, in.Close())
	<-p.done
}
