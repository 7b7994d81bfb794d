package integration

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"hbmfs/fs/client"
)

// wild is a tree of directories, files and symbolic links with any modes and owners.
type wild struct {
	rng  *rand.Rand
	root string
	all  []string // names of everything, relative to root
	dirs []string
}

// ids are of few users and groups, so that they meet.
var wildIDs = []int{0, 5001, 5002, 5003}

func (w *wild) id() int { return wildIDs[w.rng.IntN(len(wildIDs))] }

func (w *wild) mode() os.FileMode {
	m := os.FileMode(w.rng.IntN(0o1000))
	if w.rng.IntN(2) == 0 {
		m |= 0o555 // or hardly anybody gets far
	}
	return m
}

// grow makes a tree below dir, and gives it its modes last.
func (w *wild) grow(t *testing.T, dir string, depth int) {
	t.Helper()
	for i := range 6 {
		name := filepath.Join(dir, strconv.Itoa(i))
		path := filepath.Join(w.root, name)
		w.all = append(w.all, name)
		switch kind := w.rng.IntN(10); {
		case kind < 4 && depth > 0:
			must(t, os.Mkdir(path, 0o755))
			w.dirs = append(w.dirs, name)
			w.grow(t, name, depth-1)
		case kind < 6:
			must(t, os.Symlink(w.link(), path))
			must(t, os.Lchown(path, w.id(), w.id()))
			continue
		default:
			must(t, os.WriteFile(path, []byte(name), 0o600))
		}
		must(t, os.Lchown(path, w.id(), w.id()))
		mode := w.mode()
		must(t, os.Chmod(path, mode))
		if st, err := os.Lstat(path); err == nil && st.IsDir() && w.rng.IntN(4) == 0 {
			must(t, os.Chmod(path, 0o777|os.ModeSticky))
		}
	}
}

// link is where a symbolic link leads: down, up, out, or nowhere.
func (w *wild) link() string {
	part := func() string { return strconv.Itoa(w.rng.IntN(5)) }
	switch w.rng.IntN(8) {
	case 0:
		return "../" + part()
	case 1:
		return "/etc/passwd"
	case 2:
		return "./" + part()
	case 3:
		return part() + "/"
	case 4:
		return part() + "/../" + part()
	case 5:
		return part() + "/" + part() + "/" + part()
	case 6:
		return part() + "/."
	}
	return part() + "/" + part()
}

// names are those of all that there is, and through links, and some that are none.
func (w *wild) names() []string {
	names := append([]string{}, w.all...)
	for _, name := range w.all {
		for i := range 3 {
			names = append(names, name+"/"+strconv.Itoa(i))
		}
	}
	for range 200 {
		parts := make([]string, 1+w.rng.IntN(5))
		for i := range parts {
			parts[i] = []string{"0", "1", "2", "3", "4", "..", ".", "", "none"}[w.rng.IntN(9)]
		}
		names = append(names, strings.Join(parts, "/"))
	}
	return append(names, "/etc/passwd", "../0", strings.Repeat("x", 256), strings.Repeat("0/", 2100)+"0", "a\x00b")
}

// TestBatchPermissions: whatever the modes, owners, groups and links are, a batch opens
// nothing that openat2 would not open for the same caller beneath the same directory.
func TestBatchPermissions(t *testing.T) {
	if os.Geteuid() != 0 {
		unsupported(t, "only root makes files of others")
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	w := &wild{rng: rand.New(rand.NewPCG(seed, 1)), root: t.TempDir()}
	openPath(t, w.root)
	w.grow(t, "", 3)
	must(t, os.Chmod(w.root, 0o755))
	names := filepath.Join(t.TempDir(), "names")
	openPath(t, filepath.Dir(names))
	must(t, os.WriteFile(names, []byte(strings.Join(w.names(), "\n")), 0o644))
	_, addr := startTarget(t, "127.0.0.1:0", "tree="+w.root)
	m := startMount(t, addr+"/tree", "--allow-other")
	opened := 0
	for _, who := range []syscall.Credential{
		{Uid: 0, Gid: 0},
		{Uid: 5001, Gid: 5001},
		{Uid: 5002, Gid: 5001, Groups: []uint32{5003}},
		{Uid: 5003, Gid: 7, Groups: []uint32{1, 2, 3, 5001, 5002}},
		{Uid: 6000, Gid: 6000, Groups: []uint32{5002, 0}},
	} {
		cmd := child(t, "compare-opens", 5001, m.dir, names)
		cmd.SysProcAttr.Credential = &who
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("uid %d: %v\n%s", who.Uid, err, out)
		}
		var both, stricter int
		if _, err := fmt.Sscanf(string(out), "both %d stricter %d", &both, &stricter); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		t.Logf("uid %d: opened by both %d, by open only %d", who.Uid, both, stricter)
		opened += both
	}
	if opened == 0 {
		t.Error("nobody could open anything")
	}
}

func init() { children["compare-opens"] = compareOpens }

// compareOpens opens names beneath each directory of a mount by a batch and by openat2.
func compareOpens(args []string) error {
	text, err := os.ReadFile(args[1])
	if err != nil {
		return err
	}
	m, err := client.OpenMount(args[0])
	if err != nil {
		return err
	}
	defer m.Close()
	dir, err := m.OpenDir(args[0])
	if err != nil {
		return err
	}
	defer dir.Close()
	fd, err := unix.Open(args[0], unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	var wants []client.Want
	for name := range strings.SplitSeq(string(text), "\n") {
		wants = append(wants, client.Want{Name: name, Length: 1 << 16})
	}
	byRing, err := ringFor(m, dir)
	if err != nil {
		return err
	}
	defer byRing.Close()
	var both, stricter int
	var b client.Batch
	for len(wants) > 0 {
		if err := dir.FetchFiles(context.Background(), &b, wants, client.BatchOptions{Release: b.Handle}); err != nil {
			return err
		}
		for i := range b.Results {
			r, name := &b.Results[i], wants[i].Name
			data, err := openBeneath(fd, name)
			if err := byRing.same(name, r.Err, data); err != nil {
				return err
			}
			switch {
			case r.Err == nil && err != nil:
				return fmt.Errorf("%q: a batch has it, and openat2: %w", name, err)
			case r.Err == nil:
				got, err := bytesOf(dir, r, 0)
				if err != nil || string(got) != string(data) {
					return fmt.Errorf("%q: %q by a batch, %q by read, %w", name, got, data, err)
				}
				both++
			case err == nil && !errors.Is(r.Err, unix.EACCES) && !errors.Is(r.Err, unix.EINVAL):
				return fmt.Errorf("%q: openat2 opens it, and a batch: %w", name, r.Err)
			case err == nil:
				stricter++
			}
		}
		wants = wants[len(b.Results):]
	}
	fmt.Printf("both %d stricter %d\n", both, stricter)
	return nil
}

// openBeneath returns what a regular file has, as openat2 opens it.
func openBeneath(dir int, name string) ([]byte, error) {
	fd, err := unix.Openat2(dir, name, &unix.OpenHow{Flags: unix.O_RDONLY | unix.O_NONBLOCK, Resolve: unix.RESOLVE_BENEATH})
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	buf := make([]byte, 1<<16)
	n, err := unix.Read(fd, buf)
	return buf[:max(n, 0)], err
}

// namesByRing opens names beneath a directory by a ring.
type namesByRing struct {
	*client.Ring
	dir client.RingFile
	m   *client.Mount
}

func ringFor(m *client.Mount, dir *client.Dir) (*namesByRing, error) {
	r, err := m.NewRing(client.RingOptions{Entries: 4, NameBytes: 1 << 14})
	if err != nil {
		return nil, err
	}
	n, err := r.RegisterDir(dir)
	return &namesByRing{r, n, m}, err
}

// same returns nil if the ring opens the name, with those bytes, where a batch does, and
// only there.
func (r *namesByRing) same(name string, byBatch error, data []byte) error {
	op := client.Op{Kind: client.OpFetch, File: r.dir, Name: name, Length: 1 << 16}
	n, err := r.Submit([]client.Op{op})
	if errors.Is(err, unix.ENAMETOOLONG) && byBatch != nil {
		return nil
	}
	if n != 1 {
		return err
	}
	var c [1]client.Completion
	if _, err := r.Wait(context.Background(), c[:]); err != nil {
		return err
	}
	if (c[0].Err == nil) != (byBatch == nil) {
		return fmt.Errorf("%q: %w by a ring, %w by a batch", name, c[0].Err, byBatch)
	}
	if c[0].Err != nil {
		return nil
	}
	got, err := r.m.Bytes(c[0].Segment)
	if err != nil || string(got) != string(data) {
		return fmt.Errorf("%q: %q by a ring, %q by read, %w", name, got, data, err)
	}
	if n, err := r.Submit([]client.Op{{Kind: client.OpRelease, Release: c[0].Handle}}); n != 1 {
		return err
	}
	_, err = r.Wait(context.Background(), c[:])
	return errors.Join(err, c[0].Err)
}
