package integration

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hbmfs/fs/client"
	"hbmfs/fs/uapi"
)

// ringOf is a ring of a mount, as a test uses it.
type ringOf struct {
	t *testing.T
	*client.Ring
	mount *client.Mount
}

func (m *mount) newRing(opts client.RingOptions) *ringOf {
	m.t.Helper()
	c, err := client.OpenMount(m.dir)
	must(m.t, err)
	m.t.Cleanup(func() { c.Close() })
	r, err := c.NewRing(opts)
	must(m.t, err)
	m.t.Cleanup(func() { r.Close() })
	return &ringOf{t: m.t, Ring: r, mount: c}
}

// register opens a file and registers it.
func (r *ringOf) register(path string) (*client.File, client.RingFile) {
	r.t.Helper()
	f, err := r.mount.Open(path)
	must(r.t, err)
	r.t.Cleanup(func() { f.Close() })
	n, err := r.Register(f)
	must(r.t, err)
	return f, n
}

func (r *ringOf) registerDir(path string) client.RingFile {
	r.t.Helper()
	d, err := r.mount.OpenDir(path)
	must(r.t, err)
	r.t.Cleanup(func() { d.Close() })
	n, err := r.RegisterDir(d)
	must(r.t, err)
	return n
}

// submit submits all.
func (r *ringOf) submit(ops ...client.Op) {
	r.t.Helper()
	n, err := r.Submit(ops)
	must(r.t, err)
	if n != len(ops) {
		r.t.Fatalf("%d of %d were submitted", n, len(ops))
	}
}

// wait returns n completions.
func (r *ringOf) wait(n int) []client.Completion {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 20*time.Second)
	defer cancel()
	all := make([]client.Completion, 0, n)
	for len(all) < n {
		got, err := r.Wait(ctx, all[len(all):n])
		must(r.t, err)
		all = all[:len(all)+got]
	}
	return all
}

// do does one operation.
func (r *ringOf) do(op client.Op) client.Completion {
	r.t.Helper()
	r.submit(op)
	c := r.wait(1)[0]
	if c.Tag != op.Tag {
		r.t.Fatalf("%+v completed as %+v", op, c)
	}
	return c
}

// check compares what was fetched.
func (r *ringOf) check(c client.Completion, file, version int, off, n int64) {
	r.t.Helper()
	must(r.t, c.Err)
	if c.Segment.Length != n || c.Handle == 0 {
		r.t.Fatalf("%d bytes at %d: %+v", n, off, c)
	}
	b, err := r.mount.Bytes(c.Segment)
	must(r.t, err)
	checkTagged(r.t, b, file, version, off)
}

func TestRing(t *testing.T) {
	rig := startRig(t)
	const size = 300_001
	m := rig.mount
	r := m.newRing(client.RingOptions{Entries: 8})
	if c := r.do(client.Op{Tag: 3}); c.Err != nil {
		t.Fatalf("%+v", c)
	}
	_, file := r.register(rig.write("1", 1, size))
	cold := r.do(client.Op{Kind: client.OpFetch, Tag: 1, File: file, Offset: 4097, Length: 5000})
	r.check(cold, 1, 1, 4097, 5000)
	if cold.Segment.Hit || cold.FileSize != size || cold.More || cold.Unsettled || cold.Segment.Path != uapi.PathStaged {
		t.Errorf("cold: %+v", cold)
	}
	before := m.stats()
	warm := r.do(client.Op{Kind: client.OpFetch, Tag: 2, File: file, Offset: 4100, Length: 100, Release: cold.Handle})
	r.check(warm, 1, 1, 4100, 100)
	after := m.stats()
	if !warm.Segment.Hit || after.Rings.Hits != before.Rings.Hits+1 || after.Rings.Operations != before.Rings.Operations+1 || after.Rings.Open != 1 {
		t.Errorf("resident: %+v, %+v", warm, after.Rings)
	}
	if after.Cache.Leases != 1 {
		t.Errorf("%d leases", after.Cache.Leases)
	}
	end := r.do(client.Op{Kind: client.OpFetch, File: file, Offset: size - 10, Length: 100})
	r.check(end, 1, 1, size-10, 10)
	if past := r.do(client.Op{Kind: client.OpFetch, File: file, Offset: size, Length: 100}); past.Err != nil || past.Handle != 0 || past.Segment.Length != 0 {
		t.Errorf("past the end: %+v", past)
	}
	for what, c := range map[string]struct {
		op   client.Op
		want error
	}{
		"device":      {client.Op{Kind: client.OpFetch, File: file, Length: 1, Device: 9}, unix.ENODEV},
		"no file":     {client.Op{Kind: client.OpFetch, File: 77}, unix.EBADF},
		"name":        {client.Op{Kind: client.OpFetch, File: file, Name: "x"}, unix.EINVAL},
		"old handle":  {client.Op{Kind: client.OpRelease, Release: cold.Handle}, unix.ENOENT},
		"no such op":  {client.Op{Kind: 99}, unix.ENOTTY},
		"cancel none": {client.Op{Kind: client.OpCancel, Cancel: 99}, unix.ENOENT},
		"negative":    {client.Op{Kind: client.OpFetch, File: file, Offset: -1}, unix.EINVAL},
		"release":     {client.Op{Kind: client.OpRelease, Release: warm.Handle}, nil},
	} {
		if got := r.do(c.op); !errors.Is(got.Err, c.want) {
			t.Errorf("%s: %v, want %v", what, got.Err, c.want)
		}
	}
	must(t, r.Close())
	m.awaitLeases(0)
	if _, err := r.Submit([]client.Op{{}}); !errors.Is(err, client.ErrClosed) {
		t.Errorf("after its end: %v", err)
	}
	eventually(t, "no ring is open", func() error {
		if s := m.stats(); s.Rings.Open != 0 {
			return fmt.Errorf("%+v", s.Rings)
		}
		return nil
	})
}

// TestRingAllocatesNothing: neither side does, where bytes are in device memory.
func TestRingAllocatesNothing(t *testing.T) {
	const runs = 20_000
	rig := startRig(t)
	r := rig.newRing(client.RingOptions{Entries: 1})
	_, file := r.register(rig.write("1", 1, 10_000))
	ops, done := []client.Op{{Kind: client.OpFetch, File: file, Offset: 1000, Length: 4096}}, make([]client.Completion, 1)
	step := func() {
		if n, err := r.Submit(ops); n != 1 {
			t.Fatal(err)
		}
		if _, err := r.Wait(context.Background(), done); err != nil || done[0].Err != nil {
			t.Fatal(err, done[0].Err)
		}
		ops[0].Release = done[0].Handle
	}
	step()
	before := rig.stats()
	ours := testing.AllocsPerRun(runs, step)
	after := rig.stats()
	if hits := after.Rings.Hits - before.Rings.Hits; hits != runs+1 {
		t.Errorf("%d hits", hits)
	}
	theirs := after.Allocations - before.Allocations
	if ours != 0 || theirs > runs/4 && !raceDetector() { // which allocates
		t.Errorf("%v an operation by the program, and %d by the daemon for %d", ours, theirs, runs)
	}
}

// TestRingByName: many files by name at once, cold and resident.
func TestRingByName(t *testing.T) {
	const files, size, depth, release = 200, 9_000, 64, 1 << 40
	rig := startRig(t)
	must(t, unix.Mkdir(path.Join(rig.src, "d"), 0o755))
	for i := range files {
		rig.write(path.Join("d", strconv.Itoa(i)), i, size+int64(i))
	}
	r := rig.newRing(client.RingOptions{Entries: depth})
	dir := r.registerDir(rig.dir)
	for _, pass := range []string{"cold", "resident"} {
		submitted, done, released := 0, 0, 0
		for released < files {
			for submitted < files && submitted-released < depth {
				r.submit(client.Op{Kind: client.OpFetch, Tag: uint64(submitted), File: dir, Name: "d/" + strconv.Itoa(submitted), Length: 1 << 20})
				submitted++
			}
			c := r.wait(1)[0]
			if c.Tag == release {
				must(t, c.Err)
				released++
				continue
			}
			r.check(c, int(c.Tag), 1, 0, size+int64(c.Tag))
			if c.Segment.Hit != (pass == "resident") || c.FileSize != size+int64(c.Tag) {
				t.Errorf("%s: file %d: %+v", pass, c.Tag, c)
			}
			r.submit(client.Op{Kind: client.OpRelease, Tag: release, Release: c.Handle})
			done++
		}
		if done != files {
			t.Errorf("%s: %d files of %d", pass, done, files)
		}
	}
	for name, want := range map[string]error{"d/none": unix.ENOENT, "d": unix.EISDIR, "": unix.EISDIR, "../x": unix.EACCES, "d//1": unix.EINVAL} {
		if c := r.do(client.Op{Kind: client.OpFetch, File: dir, Name: name, Length: 1}); !errors.Is(c.Err, want) {
			t.Errorf("%q: %v, want %v", name, c.Err, want)
		}
	}
	rig.awaitLeases(0)
}

// TestRingOfChangedFile: a registered file that changes is ESTALE, and by name it is the
// new one.
func TestRingOfChangedFile(t *testing.T) {
	rig := startRig(t)
	r := rig.newRing(client.RingOptions{})
	_, file := r.register(rig.write("1", 1, 10_000))
	dir := r.registerDir(rig.dir)
	fetch := client.Op{Kind: client.OpFetch, File: file, Length: 10_000}
	for range 2 {
		r.check(r.do(fetch), 1, 1, 0, 10_000)
	}
	writeTagged(t, filepath.Join(rig.src, "1"), 1, 2, 10_000)
	if c := r.do(fetch); !errors.Is(c.Err, unix.ESTALE) {
		t.Errorf("after it changed: %+v", c)
	}
	r.check(r.do(client.Op{Kind: client.OpFetch, File: dir, Name: "1", Length: 10_000}), 1, 2, 0, 10_000)
}

// TestRingFileEnds: a registration ends with the last descriptor of its open file, and
// what the ring pinned of it does not.
func TestRingFileEnds(t *testing.T) {
	rig := startRig(t)
	r := rig.newRing(client.RingOptions{})
	f, file := r.register(rig.write("1", 1, 10_000))
	got := r.do(client.Op{Kind: client.OpFetch, File: file, Length: 10_000})
	r.check(got, 1, 1, 0, 10_000)
	must(t, f.Close())
	eventually(t, "the file is not registered any more", func() error {
		c := r.do(client.Op{Kind: client.OpFetch, File: file, Length: 1})
		if errors.Is(c.Err, unix.EBADF) {
			return nil
		}
		r.do(client.Op{Kind: client.OpRelease, Release: c.Handle})
		return fmt.Errorf("%+v", c)
	})
	r.check(got, 1, 1, 0, 10_000)
	rig.awaitLeases(1)
	f, file = r.register(rig.path("1"))
	must(t, r.Remove(f, file))
	if err := r.Remove(f, file); !errors.Is(err, unix.ENOENT) {
		t.Errorf("removed twice: %v", err)
	}
}

// TestRingFileIsInherited: the registration lives with the open file description, and so
// with a child that has it, and not with the descriptor.
func TestRingFileIsInherited(t *testing.T) {
	rig := startRig(t)
	r := rig.newRing(client.RingOptions{})
	f := mustOpen(t, rig.write("1", 1, 10_000), os.O_RDONLY)
	buf := make([]byte, uapi.RingFileSize)
	uapi.EncodeRingFile(buf, &uapi.RingFile{Size: uint32(uapi.RingFileSize), Ring: 1}) // the mount's first
	must(t, ioctlBytes(f, uapi.IocRingFile, buf))
	file := client.RingFile(uapi.DecodeRingFileReply(buf).File)
	cmd := exec.Command("sleep", "1000")
	cmd.ExtraFiles = []*os.File{f}
	must(t, cmd.Start())
	must(t, f.Close())
	time.Sleep(50 * time.Millisecond)
	r.check(r.do(client.Op{Kind: client.OpFetch, File: file, Length: 10_000}), 1, 1, 0, 10_000)
	must(t, cmd.Process.Kill())
	_ = cmd.Wait()
	eventually(t, "the file is not registered any more", func() error {
		if c := r.do(client.Op{Kind: client.OpFetch, File: file, Length: 1}); !errors.Is(c.Err, unix.EBADF) {
			return fmt.Errorf("%+v", c)
		}
		return nil
	})
}

// TestRingOfUnsettledFile: what a writer has open is told as unsettled, and never found
// again; a strict mount refuses it.
func TestRingOfUnsettledFile(t *testing.T) {
	rig := startRig(t)
	rig.write("1", 1, 10_000)
	w := mustOpen(t, filepath.Join(rig.src, "1"), os.O_RDWR)
	defer w.Close()
	strict := startMount(t, rig.addr+"/data", "--strict")
	for name, m := range map[string]*mount{"lenient": rig.mount, "strict": strict} {
		r := m.newRing(client.RingOptions{})
		_, file := r.register(m.path("1"))
		for _, op := range []client.Op{{File: file}, {File: r.registerDir(m.dir), Name: "1"}, {File: file}} {
			op.Kind, op.Length = client.OpFetch, 10_000
			c := r.do(op)
			if m == strict {
				if !errors.Is(c.Err, unix.EAGAIN) {
					t.Errorf("strict: %+v", c)
				}
				continue
			}
			r.check(c, 1, 1, 0, 10_000)
			if !c.Unsettled || c.Segment.Hit {
				t.Errorf("%s: %+v", name, c)
			}
		}
	}
}

// TestRingWhileTargetIsAway: what is resident is no hit that is vouched for any more, and
// said to be so.
func TestRingWhileTargetIsAway(t *testing.T) {
	rig := startRig(t)
	r := rig.newRing(client.RingOptions{})
	_, file := r.register(rig.write("1", 1, 10_000))
	fetch := client.Op{Kind: client.OpFetch, File: file, Length: 10_000}
	r.check(r.do(fetch), 1, 1, 0, 10_000)
	must(t, rig.target.Process.Signal(unix.SIGSTOP))
	t.Cleanup(func() { _ = rig.target.Process.Signal(unix.SIGCONT) })
	eventually(t, "the fetch says that the target is away", func() error {
		c := r.do(fetch)
		r.check(c, 1, 1, 0, 10_000)
		if !c.Unsettled || c.Why != uapi.WhyTargetAway {
			return fmt.Errorf("%+v", c)
		}
		return nil
	})
	must(t, rig.target.Process.Signal(unix.SIGCONT))
	eventually(t, "the target is back", func() error {
		if c := r.do(fetch); c.Err != nil || c.Unsettled {
			return fmt.Errorf("%+v", c)
		}
		return nil
	})
}

// TestRingCancel: a fetch that waits for its target ends when it is told to.
func TestRingCancel(t *testing.T) {
	rig := startRig(t)
	r := rig.newRing(client.RingOptions{})
	_, file := r.register(rig.write("1", 1, 10_000))
	must(t, rig.target.Process.Signal(unix.SIGSTOP))
	t.Cleanup(func() { _ = rig.target.Process.Signal(unix.SIGCONT) })
	r.submit(client.Op{Kind: client.OpFetch, Tag: 1, File: file, Length: 10_000})
	time.Sleep(50 * time.Millisecond)
	r.submit(client.Op{Kind: client.OpCancel, Tag: 2, Cancel: 1})
	for _, c := range r.wait(2) {
		if want := map[uint64]error{1: unix.ECANCELED}[c.Tag]; !errors.Is(c.Err, want) {
			t.Errorf("%d: %v", c.Tag, c.Err)
		}
	}
}

func init() { children["hold-ring"] = holdRing }

// holdRing FILE pins a file by a ring, and waits.
func holdRing(args []string) error {
	m, err := client.OpenMount(args[0])
	if err != nil {
		return err
	}
	f, err := m.Open(args[0])
	if err != nil {
		return err
	}
	r, err := m.NewRing(client.RingOptions{})
	if err != nil {
		return err
	}
	file, err := r.Register(f)
	if err != nil {
		return err
	}
	for i := range 20 {
		if _, err := r.Submit([]client.Op{{Kind: client.OpFetch, Tag: uint64(i), File: file, Offset: int64(i), Length: 4096}}); err != nil {
			return err
		}
		got := make([]client.Completion, 1)
		if _, err := r.Wait(context.Background(), got); err != nil {
			return err
		}
		if got[0].Err != nil {
			return got[0].Err
		}
	}
	fmt.Println("holding")
	if len(args) > 1 {
		// A child that execs has no part in the ring.
		cmd := exec.Command("sleep", "1000")
		if err := cmd.Start(); err != nil {
			return err
		}
		fmt.Println("child", cmd.Process.Pid)
	}
	select {}
}

// TestRingEndsWithItsProcess: kill -9 of the program leaves nothing pinned, and no ring,
// though a process that it has started lives on.
func TestRingEndsWithItsProcess(t *testing.T) {
	rig := startRig(t)
	file := rig.write("1", 1, 100_000)
	p := start(t, child(t, "hold-ring", 0, file, "child"))
	p.line("holding")
	var pid int
	_, err := fmt.Sscanf(p.line("child "), "child %d", &pid)
	must(t, err)
	t.Cleanup(func() { _ = unix.Kill(pid, unix.SIGKILL) })
	if s := rig.stats(); s.Cache.Leases != 20 || s.Rings.Open != 1 {
		t.Errorf("%d leases, %+v", s.Cache.Leases, s.Rings)
	}
	p.kill(unix.SIGKILL)
	rig.awaitLeases(0)
	if s := rig.stats(); s.Rings.Open != 0 {
		t.Errorf("%+v", s.Rings)
	}
}

// TestRingOfEndedDaemon: who waits is told that the daemon has gone, by a kill or an
// unmount, which no ring holds up.
func TestRingOfEndedDaemon(t *testing.T) {
	for name, end := range map[string]func(*mount){
		"killed": func(m *mount) { m.kill(unix.SIGKILL) },
		"unmounted": func(m *mount) {
			if out, code := command(m.t, "umount", m.dir); code != 0 {
				m.t.Errorf("exit code %d: %s", code, out)
			}
			within(m.t, 10*time.Second, "the daemon ends", func() { <-m.done })
		},
	} {
		t.Run(name, func(t *testing.T) { ringOfEndedDaemon(t, end) })
	}
}

func ringOfEndedDaemon(t *testing.T, end func(*mount)) {
	src := t.TempDir()
	writeNumbered(t, src, 1, 1000)
	m := startMount(t, src)
	r := m.newRing(client.RingOptions{})
	f, file := r.register(m.path("1"))
	r.check(r.do(client.Op{Kind: client.OpFetch, File: file, Length: 1000}), 1, 1, 0, 1000)
	must(t, f.Close()) // or the mount is busy
	waited := make(chan error, 1)
	go func() {
		_, err := r.Wait(context.Background(), make([]client.Completion, 1))
		waited <- err
	}()
	time.Sleep(20 * time.Millisecond)
	end(m)
	within(t, 10*time.Second, "the wait ends", func() {
		if err := <-waited; !errors.Is(err, unix.ENOTCONN) {
			t.Errorf("%v", err)
		}
	})
}

func init() { children["others-ring"] = othersRing }

// othersRing FILE RING fails to use a ring of another user.
func othersRing(args []string) error {
	number, err := strconv.ParseUint(args[1], 10, 32)
	if err != nil {
		return err
	}
	f, err := os.Open(args[0])
	if err != nil {
		return err
	}
	buf := make([]byte, uapi.RingFileSize)
	uapi.EncodeRingFile(buf, &uapi.RingFile{Size: uint32(uapi.RingFileSize), Ring: uint32(number)})
	if err := ioctlBytes(f, uapi.IocRingFile, buf); err != unix.EACCES {
		return fmt.Errorf("another user's ring: %v, want EACCES", err)
	}
	fmt.Println("refused")
	return nil
}

// TestRingsBelongToUsers: another user can't register a file with a ring, and what a ring
// opens by name is what its user may.
func TestRingsBelongToUsers(t *testing.T) {
	src := t.TempDir()
	writeNumbered(t, src, 1, 1000)
	m := startMount(t, src, "--allow-other")
	m.newRing(client.RingOptions{})
	p := start(t, child(t, "others-ring", nobody, m.path("1"), "1"))
	p.line("refused")
}

// TestBadRing: requests for rings that make no sense, and descriptors that come with them.
func TestBadRing(t *testing.T) {
	src := t.TempDir()
	writeNumbered(t, src, 1, 1000)
	m := startMount(t, src)
	before := descriptorsOf(t, m)
	good := uapi.CtlRingRequest{Size: uint32(uapi.CtlRingRequestSize), Op: uapi.CtlRing, Entries: 4}
	for what, spoil := range map[string]func(*uapi.CtlRingRequest){
		"entries": func(r *uapi.CtlRingRequest) { r.Entries = 3 },
		"none":    func(r *uapi.CtlRingRequest) { r.Entries = 0 },
		"names":   func(r *uapi.CtlRingRequest) { r.NameBytes = 1 << 30 },
		"flags":   func(r *uapi.CtlRingRequest) { r.Flags = 1 },
		"zero":    func(r *uapi.CtlRingRequest) { r.Zero = 1 },
		"size":    func(r *uapi.CtlRingRequest) { r.Size = 16 },
	} {
		bad := good
		spoil(&bad)
		out := make([]byte, uapi.CtlRingRequestSize)
		uapi.EncodeCtlRingRequest(out, &bad)
		c := mustDialCtl(t, m.dir)
		if r, _, fd, err := exchangeCtl(c, out); err != nil || r.Error != int32(unix.EINVAL) || fd >= 0 {
			t.Errorf("%s: %+v, %v", what, r, err)
		}
		must(t, c.Close())
	}
	out := make([]byte, uapi.CtlRingRequestSize)
	uapi.EncodeCtlRingRequest(out, &good)
	c := mustDialCtl(t, m.dir)
	null := mustOpen(t, os.DevNull, os.O_RDONLY)
	defer null.Close()
	_, _, err := c.WriteMsgUnix(out, unix.UnixRights(int(null.Fd())), nil)
	must(t, err)
	reply := make([]byte, 100)
	_, err = c.Read(reply)
	must(t, err)
	if r, _, err := uapi.DecodeCtlReply(reply); err != nil || r.Error != int32(unix.EINVAL) {
		t.Errorf("with a descriptor: %+v, %v", r, err)
	}
	must(t, c.Close())
	eventually(t, "nothing is left open", func() error {
		if n := descriptorsOf(t, m); n > before {
			return fmt.Errorf("%d descriptors, were %d", n, before)
		}
		return nil
	})
}

// TestRevoked: who holds memory of a device that is taken away is told, in every way that
// there is, and goes on with other memory.
func TestRevoked(t *testing.T) {
	rig := startRig(t)
	m := rig.mount
	path := rig.write("1", 1, extent)
	r := m.newRing(client.RingOptions{Entries: 8})
	file, number := r.register(path)
	byRing := r.do(client.Op{Kind: client.OpFetch, File: number, Length: 5000})
	r.check(byRing, 1, 1, 0, 5000)
	byCall := pin(t, file, 0, 5000, client.FetchOptions{})
	told := make(chan error, 1)
	go func() {
		_, err := r.Wait(t.Context(), make([]client.Completion, 1))
		told <- err
	}()
	out, code := command(t, "revoke", "--device", "0", "--json", m.dir)
	if code != 0 || !strings.Contains(out, `"regions":1`) {
		t.Fatalf("exit code %d, %s", code, out)
	}
	if err := <-told; !errors.Is(err, unix.ENODEV) {
		t.Errorf("who waits for a ring: %v", err)
	}
	if c := r.do(client.Op{Kind: client.OpRelease, Release: byRing.Handle}); !errors.Is(c.Err, unix.ENODEV) {
		t.Errorf("RELEASE by a ring: %v", c.Err)
	}
	if err := file.Release(byCall.Handle); !errors.Is(err, unix.ENODEV) {
		t.Errorf("RELEASE: %v", err)
	}
	m.awaitLeases(0)
	again := r.do(client.Op{Kind: client.OpFetch, File: number, Length: 5000})
	r.check(again, 1, 1, 0, 5000)
	if again.Segment.Region == byRing.Segment.Region || again.Segment.Hit {
		t.Errorf("afterwards: %+v", again)
	}
	if c := r.do(client.Op{Kind: client.OpRelease, Release: again.Handle}); c.Err != nil {
		t.Error(c.Err)
	}
	if _, code := command(t, "revoke", "--device", "7", m.dir); code != 1 {
		t.Errorf("a device that there is not: exit code %d", code)
	}
	if _, code := command(t, "revoke", m.dir); code != 2 {
		t.Errorf("no device: exit code %d", code)
	}
	shared := startMount(t, rig.src, "--allow-other")
	start(t, child(t, "revokes", nobody, shared.path("1"))).line("refused")
}

func init() { children["revokes"] = revokes }

// revokes FILE tries what only root and the daemon's user may.
func revokes(args []string) error {
	m, err := client.OpenMount(args[0])
	if err != nil {
		return err
	}
	defer m.Close()
	if _, _, err := m.Revoke(0); !errors.Is(err, unix.EPERM) {
		return fmt.Errorf("another user revokes: %v, want EPERM", err)
	}
	fmt.Println("refused")
	return nil
}

// TestRepliesAreRead: descriptors on their way count for the daemon's user, so a program
// that asks for more before it has read is hung up on.
func TestRepliesAreRead(t *testing.T) {
	src := t.TempDir()
	writeNumbered(t, src, 1, 1000)
	m := startMount(t, src)
	out := make([]byte, uapi.CtlRingRequestSize)
	uapi.EncodeCtlRingRequest(out, &uapi.CtlRingRequest{Size: uint32(uapi.CtlRingRequestSize), Op: uapi.CtlRing, Entries: 4})
	c := mustDialCtl(t, m.dir)
	defer c.Close()
	for range 2 {
		_, err := c.Write(out)
		must(t, err)
	}
	raw, err := c.SyscallConn()
	must(t, err)
	must(t, raw.Control(func(fd uintptr) {
		hangup := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
		if n, err := unix.Poll(hangup, 20_000); n != 1 || err != nil {
			t.Errorf("the connection stays: %v", err)
		}
	}))
	eventually(t, "no ring is open", func() error {
		if n := m.stats().Rings.Open; n != 0 {
			return fmt.Errorf("%d are", n)
		}
		return nil
	})
}

// TestRegisteredTwice: an open file has one number with a ring.
func TestRegisteredTwice(t *testing.T) {
	rig := startRig(t)
	r := rig.newRing(client.RingOptions{Entries: 8})
	file, number := r.register(rig.write("1", 1, 1000))
	again, err := r.Register(file)
	must(t, err)
	if again != number {
		t.Errorf("%d and %d", number, again)
	}
	must(t, r.Remove(file, number))
	if c := r.do(client.Op{Kind: client.OpFetch, File: number, Length: 10}); !errors.Is(c.Err, unix.EBADF) {
		t.Errorf("after the end: %v", c.Err)
	}
}
