package integration

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hbmfs/fs/client"
)

// keepOpen makes files, opens, fetches and closes them, so that they stay open at the
// target, and waits until the kernel believes their names no more.
func (r *rig) keepOpen(files int, size int64) {
	r.t.Helper()
	for i := range files {
		checkTagged(r.t, fetchAll(r.t, r.write(strconv.Itoa(i), i, size), 0, size), i, 1, 0)
	}
	eventually(r.t, "all files are kept", func() error {
		if n := r.stats().Target.Kept; n != files {
			return fmt.Errorf("%d are", n)
		}
		return nil
	})
	time.Sleep(1100 * time.Millisecond)
}

// TestReopenCostsOneMessage: a file that was closed is open at the target still, so that
// an open only asks what its name leads to: once, by LOOKUP or by OPEN.
func TestReopenCostsOneMessage(t *testing.T) {
	const files, size = 50, 100_000
	r := startRig(t)
	r.keepOpen(files, size)
	m, err := client.OpenMount(r.dir)
	must(t, err)
	defer m.Close()
	for round := range 2 { // the kernel believes no name, in the second round neither
		before := r.stats().Target
		for i := range files {
			f, err := m.Open(r.path(strconv.Itoa(i)))
			must(t, err)
			got := pin(t, f, 0, size, client.FetchOptions{})
			checkTagged(t, got.data, i, 1, 0)
			must(t, f.Close())
		}
		after := r.stats().Target
		if n := after.Reopens - before.Reopens; n != files {
			t.Errorf("round %d: %d of %d opens were of files that were open", round, n, files)
		}
		if n := after.RoundTrips - before.RoundTrips; n > files+files/5 { // and a few renewals of names on the way
			t.Errorf("round %d: %d messages for %d opens", round, n, files)
		}
		if after.Requests != before.Requests {
			t.Errorf("round %d: %d requests for what is resident", round, after.Requests-before.Requests)
		}
	}
}

// TestReopenSeesChanges: a file that stayed open at the target is never opened in place
// of what its name leads to by now.
func TestReopenSeesChanges(t *testing.T) {
	const size = 50_000
	newer := func(path string, file int) error { return os.WriteFile(path, tagged(file, 2, 0, size), 0o644) }
	changes := []func(path string, file int) error{
		newer, // in place
		func(path string, file int) error {
			return errors.Join(newer(path+"~", file), os.Rename(path+"~", path))
		},
		func(path string, file int) error { return errors.Join(os.Remove(path), newer(path, file)) },
		func(path string, file int) error { return errors.Join(os.Truncate(path, 0), newer(path, file)) },
		func(path string, file int) error { // by way of its directory
			dir := filepath.Dir(path)
			return errors.Join(os.Rename(dir, dir+"~"), os.Mkdir(dir, 0o755), newer(path, file), os.Rename(dir+"~", dir+"~"+strconv.Itoa(file)))
		},
	}
	r := startRig(t)
	must(t, os.Mkdir(filepath.Join(r.src, "d"), 0o755))
	const rounds = 8
	for round := range rounds {
		for i, change := range changes {
			t.Run(fmt.Sprintf("%d/%d", round, i), func(t *testing.T) {
				name := fmt.Sprintf("f%d-%d", round, i)
				if i == len(changes)-1 {
					name = "d/" + name
				}
				file := round*len(changes) + i
				path := r.write(name, file, size)
				for range 2 {
					checkTagged(t, fetchAll(t, path, 0, size), file, 1, 0)
				}
				if round%2 == 1 {
					time.Sleep(1100 * time.Millisecond) // so that the kernel does not believe the name
					checkTagged(t, fetchAll(t, path, 0, size), file, 1, 0)
				}
				must(t, change(filepath.Join(r.src, name), file))
				checkTagged(t, mustRead(t, path), file, 2, 0)
				checkTagged(t, fetchAll(t, path, 0, size), file, 2, 0)
			})
		}
	}
	if s := r.stats().Target; s.Reopens < 2*rounds {
		t.Errorf("only %d of %d opens were of files that were open", s.Reopens, s.Opens)
	}
}

// TestReopenWithoutName: who opens a file by no name is asked for by what its name leads
// to, and gets no version of before.
func TestReopenWithoutName(t *testing.T) {
	const size = 50_000
	r := startRig(t)
	r.keepOpen(1, size)
	fd, err := unix.Open(r.path("0"), unix.O_PATH, 0)
	must(t, err)
	defer unix.Close(fd)
	byFD := fmt.Sprintf("/proc/self/fd/%d", fd)
	checkTagged(t, mustRead(t, byFD), 0, 1, 0)
	next := filepath.Join(r.src, "next")
	writeTagged(t, next, 0, 2, size)
	time.Sleep(10 * time.Millisecond) // more than a lookup is trusted for
	must(t, os.Rename(next, filepath.Join(r.src, "0")))
	if b, err := os.ReadFile(byFD); !errors.Is(err, syscall.ESTALE) {
		t.Errorf("%d bytes, %v; want ESTALE", len(b), err)
	}
}

// TestReopenGivesSpaceBack: a file that is removed at the target does not take its
// space for as long as it is kept open.
func TestReopenGivesSpaceBack(t *testing.T) {
	r := startRig(t)
	r.keepOpen(3, 50_000)
	held, err := client.Open(r.path("1"))
	must(t, err)
	defer held.Close()
	must(t, os.Remove(filepath.Join(r.src, "0")))
	must(t, os.Remove(filepath.Join(r.src, "1")))
	eventually(t, "what has no name is not kept", func() error {
		if n := r.stats().Target.Kept; n != 1 {
			return fmt.Errorf("%d files are kept", n)
		}
		return nil
	})
	checkTagged(t, pin(t, held, 0, 50_000, client.FetchOptions{}).data, 1, 1, 0)
	must(t, held.Close())
	eventually(t, "nor once it is closed", func() error {
		if fds := heldByTarget(t, r.target, " (deleted)"); len(fds) > 0 {
			return fmt.Errorf("open at the target: %v", fds)
		}
		return nil
	})
}

// heldByTarget lists the open files of a target whose names end in that.
func heldByTarget(t *testing.T, target *process, suffix string) (found []string) {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd", target.Process.Pid)
	fds, err := os.ReadDir(dir)
	must(t, err)
	for _, fd := range fds {
		if to, err := os.Readlink(filepath.Join(dir, fd.Name())); err == nil && len(to) > len(suffix) && to[len(to)-len(suffix):] == suffix {
			found = append(found, to)
		}
	}
	return found
}

// TestNameTimeout: where the user vouches for names, opens of files that are kept ask
// nothing at all.
func TestNameTimeout(t *testing.T) {
	const files, size = 20, 50_000
	r := startRig(t, "--name-timeout", "1h")
	r.keepOpen(files, size)
	before := r.stats().Target
	for i := range files {
		checkTagged(t, mustRead(t, r.path(strconv.Itoa(i))), i, 1, 0)
	}
	after := r.stats().Target
	if n := after.RoundTrips - before.RoundTrips; n > 0 || after.Reopens-before.Reopens != files {
		t.Errorf("%d messages for %d opens, of which %d of files that were open", n, files, after.Reopens-before.Reopens)
	}
	// The version is vouched for all the same.
	f, err := client.Open(r.path("0"))
	must(t, err)
	defer f.Close()
	writeTagged(t, filepath.Join(r.src, "0"), 0, 2, size)
	if _, err := f.Fetch(context.Background(), 0, size, client.FetchOptions{}); !errors.Is(err, syscall.ESTALE) {
		t.Errorf("FETCH of a file that was written to: %v, want ESTALE", err)
	}
}

// TestLookedAtBefore: a program that has looked a file up and then opens it gets what its
// name leads to by then, however often it has looked, and whatever the kernel believes.
func TestLookedAtBefore(t *testing.T) {
	runtime.LockOSThread() // for what a thread has found
	defer runtime.UnlockOSThread()
	const files, size = 30, 5000
	r := startRig(t)
	for i := range files {
		r.write(strconv.Itoa(i), i, size)
		writeTagged(t, filepath.Join(r.src, "next"+strconv.Itoa(i)), i, 2, size)
	}
	list := func(string) { _, err := os.ReadDir(r.dir); must(t, err) }
	look := func(path string) { var st unix.Stat_t; must(t, unix.Stat(path, &st)) }
	ways := [][]func(string){{look}, {look, look}, {look, look, look}, {look, list}, {list, look}, {look, list, look}}
	for i := range files {
		path := r.path(strconv.Itoa(i))
		for range 2 { // so that opens are expected
			checkTagged(t, mustRead(t, r.path("next"+strconv.Itoa((i+1)%files))), (i+1)%files, 2, 0)
		}
		for _, do := range ways[i%len(ways)] {
			do(path)
		}
		must(t, os.Rename(filepath.Join(r.src, "next"+strconv.Itoa(i)), filepath.Join(r.src, strconv.Itoa(i))))
		checkTagged(t, mustRead(t, path), i, 2, 0)
		writeTagged(t, filepath.Join(r.src, "next"+strconv.Itoa(i)), i, 2, size)
	}
}

// TestKeptIsNotInTheWay: what one mount keeps open does not take another's room.
func TestKeptIsNotInTheWay(t *testing.T) {
	const files = 120
	src := writeFew(t, files)
	m, _ := mountFewDescriptors(t, src)
	for i := range files {
		mustRead(t, m.path(fmt.Sprint(i)))
	}
	if m.stats().Target.Kept == 0 {
		t.Fatal("nothing is kept")
	}
	other := startMount(t, m.stats().Target.Addr+"/data")
	var open []*os.File
	defer func() {
		for _, f := range open {
			f.Close()
		}
	}()
	for i := range files {
		f, err := os.Open(other.path(fmt.Sprint(i)))
		if err != nil {
			break
		}
		open = append(open, f)
	}
	if n := m.stats().Target.Kept; n > 0 {
		t.Errorf("%d files are kept, and another mount could open %d", n, len(open))
	}
}
