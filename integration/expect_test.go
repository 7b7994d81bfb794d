package integration

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"hbmfs/fs/client"
)

// TestFilesFetchedWhole: where programs open files and fetch all of them, the lookup
// opens the file and the open fetches it: a file costs one message beside its bytes.
func TestFilesFetchedWhole(t *testing.T) {
	const files, size = 100, 60_000
	r := startRig(t)
	for i := range files {
		r.write(strconv.Itoa(i), i, size)
	}
	m, err := client.OpenMount(r.dir)
	must(t, err)
	defer m.Close()
	read := func(i int) {
		f, err := m.Open(r.path(strconv.Itoa(i)))
		must(t, err)
		got := pin(t, f, 0, size, client.FetchOptions{})
		checkTagged(t, got.data, i, 1, 0)
		if got.Segments[0].Hit {
			t.Errorf("file %d was there before", i)
		}
		must(t, f.Close())
	}
	read(0)
	read(1)
	before := r.stats()
	for i := 2; i < files; i++ {
		read(i)
	}
	after := r.stats()
	const n = files - 2
	if asked := after.Target.RoundTrips - before.Target.RoundTrips; asked > n+n/5 { // a busy host lets terms run out
		t.Errorf("%d messages for %d files", asked, n)
	}
	if bytes := after.Target.Link.Bytes - before.Target.Link.Bytes; bytes > n*size*11/10 {
		t.Errorf("%d bytes for %d files of %d", bytes, n, size)
	}
	if expected := after.Cache.Expected - before.Cache.Expected; expected < n*9/10 {
		t.Errorf("%d of %d fetches were expected", expected, n)
	}
	eventually(t, "nothing is leased", func() error {
		if s := r.stats().Cache; s.Leases != 0 {
			return fmt.Errorf("%d leases", s.Leases)
		}
		return nil
	})
}

// TestLookedAtOnly: files that programs only look at are not opened at the target, and
// those that they only open, or read, are not fetched.
func TestLookedAtOnly(t *testing.T) {
	const files, size = 60, 10_000
	r := startRig(t)
	for i := range files {
		r.write(strconv.Itoa(i), i, size)
	}
	for i := range 3 { // as if all were to be fetched
		checkTagged(t, fetchAll(t, r.path(strconv.Itoa(i)), 0, size), i, 1, 0)
	}
	before := r.stats()
	for i := 3; i < files/2; i++ {
		var st unix.Stat_t
		must(t, unix.Lstat(r.path(strconv.Itoa(i)), &st))
	}
	after := r.stats()
	if opens := after.Target.Opens - before.Target.Opens; opens > 8 {
		t.Errorf("%d of %d files were opened to look at them", opens, files/2-3)
	}
	for i := files / 2; i < files; i++ {
		checkTagged(t, mustRead(t, r.path(strconv.Itoa(i))), i, 1, 0)
	}
	if extents := r.stats().Cache.Misses - after.Cache.Misses; extents > 8 {
		t.Errorf("%d of %d files were fetched to read them", extents, files/2)
	}
}

// TestNotHisFile: what a user may not open is not fetched into memory of his, whatever
// he does with its name.
func TestNotHisFile(t *testing.T) {
	const files, size, nobody = 40, 10_000, 65534
	r := startRig(t, "--allow-other")
	for i := range files {
		r.write(strconv.Itoa(i), i, size)
		if i >= files/2 {
			must(t, os.Chmod(filepath.Join(r.src, strconv.Itoa(i)), 0o600))
		}
	}
	out, err := child(t, "open-and-fetch", nobody, r.dir, strconv.Itoa(files)).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if s := r.stats().Cache; s.Misses != files/2 {
		t.Errorf("%d files were fetched, of which the user may read %d", s.Misses, files/2)
	}
}

func init() { children["open-and-fetch"] = openAndFetch }

// openAndFetch opens the files of a mount, and fetches those that it may open.
func openAndFetch(args []string) error {
	files, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	m, err := client.OpenMount(args[0])
	if err != nil {
		return err
	}
	defer m.Close()
	for i := range files {
		f, err := m.Open(filepath.Join(args[0], strconv.Itoa(i)))
		if errors.Is(err, unix.EACCES) && i >= files/2 {
			continue
		}
		if err != nil {
			return err
		}
		got, err := f.Fetch(context.Background(), 0, 1<<20, client.FetchOptions{})
		if err != nil || got.Fetched == 0 {
			return fmt.Errorf("file %d: %d bytes, %w", i, got.Fetched, err)
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	return nil
}

// TestNotHisAlone: what a user's number alone does not let him read is not fetched into
// memory of his without that a program asks for it, whatever let it open the file.
func TestNotHisAlone(t *testing.T) {
	const files, size, nobody, group = 40, 20_000, 65534, 7777
	r := startRig(t, "--allow-other")
	for i := range files {
		r.write(strconv.Itoa(i), i, size)
		path := filepath.Join(r.src, strconv.Itoa(i))
		if i >= files/2 { // the first half is fetched, as is a habit then
			must(t, os.Chown(path, 0, group))
			must(t, os.Chmod(path, 0o640))
		}
	}
	cmd := child(t, "fetch-then-read", nobody, r.dir, strconv.Itoa(files))
	cmd.SysProcAttr.Credential.Groups = []uint32{group}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if s := r.stats().Cache; s.Misses != files/2 {
		t.Errorf("%d files are in memory of the user's, who has fetched %d", s.Misses, files/2)
	}
}

func init() { children["fetch-then-read"] = fetchThenRead }

// fetchThenRead fetches the first half of a mount's files, and reads the others.
func fetchThenRead(args []string) error {
	files, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	for i := range files {
		path := filepath.Join(args[0], strconv.Itoa(i))
		if i < files/2 {
			_, err = tryFetchAll(path, 0, 1<<20)
		} else {
			_, err = os.ReadFile(path)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
