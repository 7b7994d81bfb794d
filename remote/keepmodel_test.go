package remote_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hbmfs/remote"
	"hbmfs/transport"
	"hbmfs/transport/modeltest"
	"hbmfs/transport/transporttest"
)

// keepOps are what is done with names, and with files that are open and kept open.
var keepOps = []string{
	"open", "again", "again", "again", "want", "believe", "believe", "close", "close", "close", "close", "read", "read", "vouch",
	"replace", "replace", "rewrite", "rewrite", "truncate", "chmod", "rename", "remove", "expire", "cut", "restart",
}

const (
	keepNames = 18
	keepSize  = 16 << 10 // of files that were not cut off
	maxOpen   = 6        // that the driver has
	// Of a process with few descriptors, whose target has a mount keep no more than
	// fewKept files open, and have no more than fewOpen at all.
	few     = 80
	fewKept = 11
	fewOpen = 15
)

// state is what a file was in from one change of it, or of its attributes, to the next.
type state struct {
	id     int // 0: no file
	inode  int
	tag    uint64 // of the bytes
	size   int64
	number uint64 // of the file that the bytes are of
}

// keepDriver does what the bytes of an input say, to a mount, its target and a model,
// which is: what each name leads to, which open files are stale, and what may be kept.
type keepDriver struct {
	t       testing.TB
	n       *node
	r       *remote.Target
	crowded bool // the target has few descriptors
	wait    time.Duration

	last     int                       // state, or inode
	names    [keepNames]state          // 0: no file
	versions map[transport.Version]int // of states
	open     []*keptFile
	kept     map[int]*keptFile // by name: what may be kept
	unlinked map[int]bool      // inodes without a name: what is kept of them may be let go
	full     bool              // there may have been no room since the start
}

// keptFile is an open file, or one that was.
type keptFile struct {
	*remote.File
	name  int
	state state
	stale bool
	there bool // it is open at the target
}

// TestKeptAgainstModel: whatever order files are opened, closed, replaced, written, cut
// off, renamed and removed in, and the target is lost, has few descriptors, or lets go:
// what is opened has the bytes that its name leads to then, or, if the name is believed,
// those that it led to, what was written to is stale, and the target has those files
// open that are open or kept, and none when the mount has gone.
func TestKeptAgainstModel(t *testing.T) {
	checkKeeping(t, false)
}

// TestKeptAgainstModelCrowded is the same with a target of few descriptors: a process of
// its own, since its limit can't be raised again.
func TestKeptAgainstModelCrowded(t *testing.T) {
	const child = "HBMFS_TEST_FEW_DESCRIPTORS"
	if os.Getenv(child) == "" {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKeptAgainstModelCrowded$", "-test.timeout=5m")
		cmd.Env = append(os.Environ(), child+"=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: few, Max: few}); err != nil {
		t.Fatal(err)
	}
	checkKeeping(t, true)
}

func checkKeeping(t *testing.T, crowded bool) {
	wait := patience
	modeltest.Check(t, 12, 80, keepOps, func(ops []byte) string {
		how := tryKeeping(t, ops, crowded, wait)
		if how != "" {
			wait = time.Second // what is left out of what fails is tried often
		}
		return how
	})
}

// tryKeeping returns how the operations fail, or nothing.
func tryKeeping(t *testing.T, ops []byte, crowded bool, wait time.Duration) (how string) {
	tb := modeltest.Trial{TB: t}
	d := &keepDriver{
		t: tb, n: &node{t: tb, dir: t.TempDir(), addr: "127.0.0.1:0"}, crowded: crowded, wait: wait,
		versions: make(map[transport.Version]int), kept: make(map[int]*keptFile), unlinked: make(map[int]bool),
	}
	for i := range d.names {
		d.replace(i)
	}
	d.n.start()
	defer d.n.kill()
	var err error
	if d.r, err = remote.Connect(t.Context(), d.n.config()); err != nil {
		t.Fatal(err)
	}
	defer d.r.Close()
	return modeltest.Try(func() { d.run(ops) })
}

func (d *keepDriver) run(ops []byte) {
	for ; len(ops) >= modeltest.OpBytes; ops = ops[modeltest.OpBytes:] {
		d.step(keepOps[int(ops[0])%len(keepOps)], int(ops[1]), int(ops[2]), int(ops[3]))
		d.verify()
	}
	for len(d.open) > 0 {
		d.close(0)
	}
	d.verify()
	d.r.Close()
	d.holds(0)
}

func (d *keepDriver) step(op string, arg, a, b int) {
	i := arg % keepNames
	switch {
	case op == "open" && len(d.open) < maxOpen:
		d.openFresh(i)
	case op == "again" && len(d.open) < maxOpen:
		d.openAgain(i)
	case op == "want" && len(d.open) < maxOpen:
		d.want(i)
	case op == "believe" && len(d.open) < maxOpen:
		d.believe(i)
	case op == "close" && len(d.open) > 0:
		d.close(arg % len(d.open))
	case op == "read" && len(d.open) > 0:
		d.read(d.open[arg%len(d.open)], a, b)
	case op == "vouch" && len(d.open) > 0:
		d.vouch(d.open[arg%len(d.open)])
	case op == "replace":
		d.replace(i)
	case op == "rewrite":
		d.write(i, keepSize)
	case op == "truncate":
		d.write(i, d.names[i].size/2)
	case op == "chmod" && d.names[i].id != 0:
		d.must(os.Chmod(d.path(i), os.FileMode(0o600+a%8)))
		d.changed(i)
	case op == "rename" && d.names[i].id != 0:
		d.rename(i, a%keepNames)
	case op == "remove" && d.names[i].id != 0:
		d.must(os.Remove(d.path(i)))
		d.unlink(i)
	case op == "expire":
		d.r.ExpireKept()
		clear(d.kept)
	case op == "cut" && a < 128:
		d.lose(d.n.socket.cut)
	case op == "restart" && a < 32: // a target that was lost waits for a term
		d.lose(func() {
			d.n.kill()
			d.n.start()
		})
	}
}

func (d *keepDriver) path(i int) string { return d.n.path(name(i)) }

func (d *keepDriver) must(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(err)
	}
}

// Changes at the target.

func (d *keepDriver) next() int {
	d.last++
	return d.last
}

// replace puts another file in the place of a name's, or makes one.
func (d *keepDriver) replace(i int) {
	s := state{id: d.next(), inode: d.next(), tag: uint64(d.next()), size: keepSize, number: uint64(i + 1)}
	b := make([]byte, s.size)
	transporttest.Fill(b, s.ref(), 0)
	d.must(os.WriteFile(d.path(i)+"~", b, 0o644))
	d.must(os.Rename(d.path(i)+"~", d.path(i)))
	d.unlink(i)
	d.names[i] = s
}

// ref is what the bytes are made of.
func (s *state) ref() transport.FileRef {
	ref := transport.FileRef{Handle: s.number}
	ref.Version[8], ref.Version[9] = byte(s.tag), byte(s.tag>>8)
	return ref
}

// write writes a name's file in place: other bytes, or fewer.
func (d *keepDriver) write(i int, size int64) {
	s := &d.names[i]
	if s.id == 0 || size == 0 {
		return
	}
	if size < s.size {
		d.must(os.Truncate(d.path(i), size))
	} else {
		s.tag = uint64(d.next())
		b := make([]byte, size)
		transporttest.Fill(b, s.ref(), 0)
		f, err := os.OpenFile(d.path(i), os.O_WRONLY, 0)
		d.must(err)
		_, err = f.Write(b)
		d.must(errors.Join(err, f.Close()))
	}
	s.size = size
	d.changed(i)
	for _, f := range d.open {
		f.stale = f.stale || f.state.inode == s.inode
	}
	for name, f := range d.kept {
		if f.state.inode == s.inode {
			delete(d.kept, name)
		}
	}
}

// changed says that a name's file has other attributes.
func (d *keepDriver) changed(i int) { d.names[i].id = d.next() }

// rename replaces to by from, or by itself.
func (d *keepDriver) rename(from, to int) {
	d.must(os.Rename(d.path(from), d.path(to)))
	if from == to {
		return
	}
	d.unlink(to)
	d.names[to], d.names[from] = d.names[from], state{}
	d.changed(to)
}

func (d *keepDriver) unlink(i int) {
	d.unlinked[d.names[i].inode] = true
	d.names[i] = state{}
}

// lose has the mount's session lost: it opens what is open again, if it is still there.
func (d *keepDriver) lose(by func()) {
	before := d.r.Stats().Sessions
	by()
	d.until("another session", func() bool { return d.r.Stats().Sessions > before })
	if _, err := d.r.Stat(d.t.Context(), "d", ""); err != nil {
		d.t.Fatal(err)
	}
	clear(d.kept)
	for _, f := range d.open {
		if f.state.id != d.names[f.name].id {
			f.stale = true
		}
		f.there = !f.stale
	}
}

// What the mount does.

// openFresh opens what a name leads to, as an open with its lookup does.
func (d *keepDriver) openFresh(i int) {
	refusable := d.crowded && d.held()+1 >= fewOpen
	f, err := d.r.Open(d.t.Context(), "d", name(i), nil)
	if errors.Is(err, syscall.ENFILE) && refusable {
		d.full = true
		return
	}
	d.opened(i, d.names[i], f, err)
}

// openAgain opens what a name was found to lead to.
func (d *keepDriver) openAgain(i int) {
	a, err := d.r.Stat(d.t.Context(), "d", name(i))
	if err != nil {
		d.opened(i, d.names[i], nil, err)
		return
	}
	if a.Size != uint64(d.names[i].size) {
		d.t.Fatalf("%s has %d bytes, not %d", name(i), a.Size, d.names[i].size)
	}
	kept, reopened := d.kept[i], d.r.Stats().Reopens
	f, err := d.r.Open(d.t.Context(), "d", name(i), &a.Version)
	wasKept := kept != nil && kept.state.id == d.names[i].id
	if again := d.r.Stats().Reopens > reopened; again != wasKept && (!wasKept || !d.maybe(kept)) {
		d.t.Fatalf("%s was opened again: %v, want %v", name(i), again, wasKept)
	} else if again {
		delete(d.kept, i)
	}
	d.opened(i, d.names[i], f, err)
}

// want asks for the version that is kept, which the name may not lead to any more.
func (d *keepDriver) want(i int) {
	kept := d.kept[i]
	if kept == nil {
		return
	}
	v, now := kept.Version(), d.names[i]
	f, err := d.r.Open(d.t.Context(), "d", name(i), &v)
	switch {
	case now.id == 0 || now.id == kept.state.id:
		if err == nil {
			delete(d.kept, i)
		}
		d.opened(i, now, f, err)
	case !errors.Is(err, transport.ErrStale):
		d.t.Fatalf("%s leads to another version than the one that was asked for: %v", name(i), err)
	}
}

// believe opens what a name has led to, as if names were vouched for.
func (d *keepDriver) believe(i int) {
	kept := d.kept[i]
	if kept == nil {
		return // there is nothing of a version that is known
	}
	f, ok := d.r.Reopen("d", name(i), kept.Version())
	switch {
	case ok:
		delete(d.kept, i)
		d.opened(i, kept.state, f, nil)
	case !d.maybe(kept):
		d.t.Fatalf("%s is not kept", name(i))
	}
}

// opened takes in an open file, which must be all of that state.
func (d *keepDriver) opened(i int, s state, f *remote.File, err error) {
	if s.id == 0 {
		if !errors.Is(err, syscall.ENOENT) {
			d.t.Fatalf("%s, which is not there: %v", name(i), err)
		}
		return
	}
	if err != nil {
		d.t.Fatalf("%s: %v", name(i), err)
	}
	o := &keptFile{File: f, name: i, state: s, there: true}
	d.open = append(d.open, o)
	if ok, why := f.Settled(); !ok {
		d.t.Fatalf("%s is not settled: %s", name(i), why)
	}
	if id, ok := d.versions[f.Version()]; ok && id != s.id {
		d.t.Fatalf("%s is of state %d, and was opened in the version of %d", name(i), s.id, id)
	}
	d.versions[f.Version()] = s.id
	if f.Size() != s.size {
		d.t.Fatalf("%s has %d bytes, not %d", name(i), f.Size(), s.size)
	}
	d.read(o, 0, 255)
}

func (d *keepDriver) close(i int) {
	f := d.open[i]
	f.Close()
	d.open = slices.Delete(d.open, i, i+1)
	if !f.stale {
		d.kept[f.name] = f
	}
}

// read reads from a/256 of the file on, and b/255 of what is left.
func (d *keepDriver) read(f *keptFile, a, b int) {
	off := int64(a) * f.state.size / 256
	n := int64(b) * (f.state.size - off) / 255
	got, err := f.Read(d.t.Context(), off, int(n))
	switch {
	case f.stale && n > 0 && !errors.Is(err, transport.ErrStale):
		d.t.Fatalf("%s was written to, and a read of what was open says %v", name(f.name), err)
	case f.stale:
		return
	case err != nil:
		d.t.Fatalf("%s: %v", name(f.name), err)
	}
	defer got.Release()
	if int64(len(got.Bytes())) != n {
		d.t.Fatalf("%s: %d bytes of %d", name(f.name), len(got.Bytes()), n)
	}
	d.must(transporttest.Check(got.Bytes(), f.state.ref(), off))
}

func (d *keepDriver) vouch(f *keptFile) {
	if err := f.Vouch(d.t.Context(), d.r.Now()); errors.Is(err, transport.ErrStale) != f.stale || !f.stale && err != nil {
		d.t.Fatalf("%s, stale %v, is vouched for: %v", name(f.name), f.stale, err)
	}
}

// What is held.

// maybe reports whether a file that may be kept need not be.
func (d *keepDriver) maybe(f *keptFile) bool { return d.full || d.unlinked[f.state.inode] }

// held is how many versions are open at the target.
func (d *keepDriver) held() int {
	ids := make(map[int]bool)
	for _, f := range d.open {
		if f.there {
			ids[f.state.id] = true
		}
	}
	for _, f := range d.kept {
		ids[f.state.id] = true
	}
	return len(ids)
}

// verify compares what is kept with what may be, and what is open at the target with
// what is open or kept.
func (d *keepDriver) verify() {
	d.full = d.full || d.crowded && (len(d.kept) > fewKept || d.held() >= fewOpen)
	d.until("what is not kept is closed", func() bool {
		for i := range keepNames {
			d.verifyKept(i)
		}
		return d.descriptors() == d.held()
	})
	if n := d.r.Stats().Kept; n != len(d.kept) {
		d.t.Fatalf("%d are kept, and found are %d", n, len(d.kept))
	}
}

func (d *keepDriver) verifyKept(i int) {
	v, ok := d.r.Keeps("d", name(i))
	f := d.kept[i]
	switch {
	case ok && f == nil:
		d.t.Fatalf("%s is kept", name(i))
	case ok && f.Version() != v:
		d.t.Fatalf("%s is kept in another version", name(i))
	case !ok && f != nil && !d.maybe(f):
		d.t.Fatalf("%s is not kept", name(i))
	case !ok:
		delete(d.kept, i)
	}
}

// holds waits until so many files are open at the target.
func (d *keepDriver) holds(n int) {
	d.until(fmt.Sprintf("%d files are open at the target", n), func() bool { return d.descriptors() == n })
}

func (d *keepDriver) until(what string, reached func() bool) {
	for end := time.Now().Add(d.wait); !reached(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			d.t.Fatalf("not reached: %s; %d are open at the target, and %d should be", what, d.descriptors(), d.held())
		}
	}
}

// descriptors is how many of the target's files this process has open.
func (d *keepDriver) descriptors() (n int) {
	all, err := filepath.Glob("/proc/self/fd/*")
	d.must(err)
	for _, fd := range all {
		if to, err := os.Readlink(fd); err == nil && strings.HasPrefix(to, d.n.dir+"/") {
			n++
		}
	}
	return n
}
