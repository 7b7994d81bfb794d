package integration

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hbmfs/fs/client"
	"hbmfs/fs/uapi"
)

// dialCtl connects to a mount's control socket without the client.
func dialCtl(dir string) (*net.UnixConn, error) {
	c, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Net: "unixpacket", Name: filepath.Join(dir, ".hbmfs", "ctl")})
	if err != nil {
		return nil, err
	}
	return c, c.SetDeadline(time.Now().Add(15 * time.Second))
}

func mustDialCtl(t *testing.T, dir string) *net.UnixConn {
	t.Helper()
	c, err := dialCtl(dir)
	must(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

func ctlMessage(r uapi.CtlRequest) []byte {
	b := make([]byte, uapi.CtlRequestSize)
	uapi.EncodeCtlRequest(b, &r)
	return b
}

// exchangeCtl sends a message and returns what the daemon answers: a reply, the
// text behind it and a descriptor (-1: none), or [io.EOF] if it hung up.
func exchangeCtl(c *net.UnixConn, message []byte) (r uapi.CtlReply, text []byte, fd int, err error) {
	if _, err := c.Write(message); err != nil {
		return r, nil, -1, err
	}
	in, oob := make([]byte, uapi.CtlMax), make([]byte, unix.CmsgSpace(4))
	n, oobn, _, _, err := c.ReadMsgUnix(in, oob)
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || err == nil && n == 0 {
		err = io.EOF
	}
	if err != nil {
		return r, nil, -1, err
	}
	r, text, err = uapi.DecodeCtlReply(in[:n])
	return r, text, descriptorIn(oob[:oobn]), err
}

func descriptorIn(oob []byte) int {
	all, err := unix.ParseSocketControlMessage(oob)
	if err != nil || len(all) != 1 {
		return -1
	}
	fds, err := unix.ParseUnixRights(&all[0])
	if err != nil || len(fds) != 1 {
		return -1
	}
	return fds[0]
}

// askRegion returns a region's descriptor, or the errno that was answered.
func askRegion(c *net.UnixConn, id uint32) (int, error) {
	r, _, fd, err := exchangeCtl(c, ctlMessage(uapi.CtlRequest{Size: uint32(uapi.CtlRequestSize), Op: uapi.CtlRegion, Region: id}))
	switch {
	case err != nil:
		return -1, err
	case r.Error != 0:
		return -1, syscall.Errno(r.Error)
	case fd < 0:
		return -1, errors.New("no descriptor came")
	}
	return fd, nil
}

// TestCtlIsNotListed: a walk of the mount, and a copy, equal the dataset,
// however it is mounted. Only in the root is the name special.
func TestCtlIsNotListed(t *testing.T) {
	src, out := t.TempDir(), t.TempDir()
	must(t, os.MkdirAll(filepath.Join(src, "sub", ".hbmfs"), 0o755))
	writeNumbered(t, src, 1, 1000)
	writeNumbered(t, filepath.Join(src, "sub", ".hbmfs"), 2, 1000)
	must(t, os.Symlink("sub/.hbmfs/2", filepath.Join(src, ".hidden")))
	_, addr := startTarget(t, "127.0.0.1:0", "data="+src)
	want := listTree(t, src)
	for via, at := range map[string]struct{ source, under string }{
		"tcp": {addr + "/data", "."}, "embedded": {src, "."}, "all": {addr, "data"},
	} {
		t.Run(via, func(t *testing.T) {
			m := startMount(t, at.source)
			if got := listTree(t, m.path(at.under)); !maps.Equal(got, want) {
				t.Errorf("the mount has\n%v\nthe dataset\n%v", got, want)
			}
			entries, err := os.ReadDir(m.dir)
			must(t, err)
			for _, e := range entries {
				if e.Name() == ".hbmfs" {
					t.Error(".hbmfs is listed")
				}
			}
			must(t, exec.Command("cp", "-a", m.path(at.under), filepath.Join(out, via)).Run())
			if diff, err := exec.Command("diff", "-r", "--no-dereference", src, filepath.Join(out, via)).CombinedOutput(); err != nil {
				t.Errorf("the copy differs:\n%s", diff)
			}
			if info, err := os.Stat(m.path(".hbmfs/ctl")); err != nil || info.Mode().Type() != os.ModeSocket {
				t.Errorf("the socket: %v, %v", info, err)
			}
		})
	}
}

// TestReservedName: a dataset that has what the mount needs for itself is
// refused by mount, with the reason. One that gets it later does not show it.
func TestReservedName(t *testing.T) {
	src, mnt := t.TempDir(), t.TempDir()
	must(t, os.Mkdir(filepath.Join(src, ".hbmfs"), 0o755))
	_, addr := startTarget(t, "127.0.0.1:0", "data="+src)
	for what, args := range map[string][]string{
		"embedded":       {"mount", "--foreground", src, mnt},
		"background":     {"mount", src, mnt},
		"tcp":            {"mount", "--foreground", addr + "/data", mnt},
		"dataset's name": {"serve", "--listen", "127.0.0.1:0", ".hbmfs=" + mnt},
	} {
		ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
		out, err := exec.CommandContext(ctx, bin, args...).CombinedOutput()
		cancel()
		if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() < 1 || !strings.Contains(string(out), ".hbmfs") {
			t.Errorf("%s: %v, %s", what, err, out)
		}
	}
	must(t, os.Remove(filepath.Join(src, ".hbmfs")))
	m := startMount(t, addr+"/data")
	must(t, os.Mkdir(filepath.Join(src, ".hbmfs"), 0o755))
	if entries, err := os.ReadDir(m.dir); err != nil || len(entries) > 0 {
		t.Errorf("the root lists %v, %v", entries, err)
	}
	must(t, mustDialCtl(t, m.dir).Close())
}

// TestRegionIsSealed: who has a region's descriptor can read it, and nothing
// else.
func TestRegionIsSealed(t *testing.T) {
	const size = 2 * extent
	src := t.TempDir()
	writeNumbered(t, src, 1, size)
	m := startMount(t, src, small(4)...)
	f := openFile(t, m.path("1"))
	held := pin(t, f, 0, size, client.FetchOptions{})
	fd, err := askRegion(mustDialCtl(t, m.dir), held.Segments[0].Region)
	must(t, err)
	defer unix.Close(fd)
	again := fmt.Sprintf("/proc/self/fd/%d", fd)
	page := make([]byte, 4096)
	for what, err := range map[string]error{
		"write":              second(unix.Pwrite(fd, page, 0)),
		"write anew":         writeAnew(again, page),
		"truncate":           unix.Ftruncate(fd, 0),
		"truncate anew":      second(unix.Open(again, unix.O_RDWR|unix.O_TRUNC|unix.O_CLOEXEC, 0)),
		"grow":               unix.Ftruncate(fd, 1<<30),
		"punch a hole":       unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, 4096),
		"allocate past it":   unix.Fallocate(fd, 0, 0, 1<<30),
		"map writable":       second(unix.Mmap(fd, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)),
		"make a map that is": makeWritable(fd),
		"seal it more":       second(unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_WRITE)),
	} {
		if !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EACCES) {
			t.Errorf("%s: %v, want EPERM or EACCES", what, err)
		}
	}
	checkHeldAs(t, f, held, 1)
	checkTagged(t, fetchAll(t, m.path("1"), 0, size), 1, 1, 0)
}

func writeAnew(path string, b []byte) error {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	_, err = unix.Write(fd, b)
	return err
}

func makeWritable(fd int) error {
	b, err := unix.Mmap(fd, 0, 4096, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	defer unix.Munmap(b)
	return errors.Join(unix.Mprotect(b, unix.PROT_READ|unix.PROT_WRITE))
}

// TestRegionsBelongToUsers: each user's bytes are in a region of its own, whose
// descriptor nobody else gets, root neither.
func TestRegionsBelongToUsers(t *testing.T) {
	src := t.TempDir()
	writeNumbered(t, src, 1, 3*extent+7)
	m := startMount(t, src, append(small(8), "--allow-other")...)
	ours := pin(t, openFile(t, m.path("1")), 0, extent, client.FetchOptions{})
	region := ours.Segments[0].Region

	p := start(t, child(t, "own-region", nobody, m.path("1"), fmt.Sprint(region)))
	theirs := strings.TrimPrefix(p.line("region "), "region ")
	c := mustDialCtl(t, m.dir)
	for _, id := range []string{theirs, "0", "4000000000"} {
		var n uint32
		_, err := fmt.Sscan(id, &n)
		must(t, err)
		want := unix.ENOENT
		if id == theirs {
			want = unix.EACCES
		}
		if _, err := askRegion(c, n); err != want {
			t.Errorf("root asks for region %s: %v, want %v", id, err, want)
		}
	}
	if s := m.stats().Cache; s.Regions != 2 || s.Leases != 2 || s.Misses != 1+4 {
		t.Errorf("two users: %+v", s)
	}
	p.kill(unix.SIGKILL)
	m.awaitLeases(1)
}

func init() { children["own-region"] = ownRegion }

// ownRegion FILE OTHER fetches a file as this user, fails to get the region
// OTHER, says which is its own, and waits.
func ownRegion(args []string) error {
	var other uint32
	if _, err := fmt.Sscan(args[1], &other); err != nil {
		return err
	}
	c, err := dialCtl(filepath.Dir(args[0]))
	if err != nil {
		return err
	}
	if _, err := askRegion(c, other); err != unix.EACCES {
		return fmt.Errorf("another user's region: %v, want EACCES", err)
	}
	f, err := client.Open(args[0])
	if err != nil {
		return err
	}
	r, err := tryPin(f, 0, 1<<30, client.FetchOptions{})
	if err != nil {
		return err
	}
	if err := wrongWord(r.data, numberOf(args[0]), 1, 0); err != nil {
		return err
	}
	own := r.Segments[0].Region
	if own == other || r.Segments[0].Hit {
		return fmt.Errorf("segments of another user: %+v", r.Segments)
	}
	fmt.Println("region", own)
	select {}
}

// TestCtlGarbage: what is no request gets an error or a hang-up, keeps nothing,
// and spoils nothing for others.
func TestCtlGarbage(t *testing.T) {
	src := t.TempDir()
	writeNumbered(t, src, 1, extent)
	m := startMount(t, src, small(4)...)
	good := mustDialCtl(t, m.dir)
	held := pin(t, openFile(t, m.path("1")), 0, extent, client.FetchOptions{})
	before := descriptorsOf(t, m)
	for what, message := range garbage() {
		c, err := dialCtl(m.dir)
		must(t, err)
		r, _, fd, err := exchangeCtl(c, message)
		if err == nil && r.Error == 0 || err != nil && err != io.EOF || fd >= 0 {
			t.Errorf("%s: %+v, descriptor %d, %v", what, r, fd, err)
		}
		must(t, c.Close())
	}
	sendDescriptors(t, m.dir)
	eventually(t, "the daemon's descriptors are closed", func() error {
		if after := descriptorsOf(t, m); after > before {
			return fmt.Errorf("%d, were %d", after, before)
		}
		return nil
	})
	fd, err := askRegion(good, held.Segments[0].Region)
	must(t, err)
	must(t, unix.Close(fd))
}

func garbage() map[string][]byte {
	const size, region, stats = uint32(uapi.CtlRequestSize), uapi.CtlRegion, uapi.CtlStats
	all := map[string][]byte{
		"nothing":              {},
		"one byte":             {1},
		"short by one":         ctlMessage(uapi.CtlRequest{Size: size, Op: stats})[:size-1],
		"long by one":          append(ctlMessage(uapi.CtlRequest{Size: size, Op: stats}), 0),
		"two in one":           bytes.Repeat(ctlMessage(uapi.CtlRequest{Size: size, Op: stats}), 2),
		"very long":            append(ctlMessage(uapi.CtlRequest{Size: size, Op: stats}), make([]byte, 100_000)...),
		"size 0":               ctlMessage(uapi.CtlRequest{Op: stats}),
		"another size":         ctlMessage(uapi.CtlRequest{Size: size + 4, Op: stats}),
		"op 0":                 ctlMessage(uapi.CtlRequest{Size: size}),
		"unknown op":           ctlMessage(uapi.CtlRequest{Size: size, Op: 77}),
		"padding":              ctlMessage(uapi.CtlRequest{Size: size, Op: stats, Zero: 1}),
		"unpin of a region":    ctlMessage(uapi.CtlRequest{Size: size, Op: uapi.CtlUnpin, Region: 1}),
		"stats of a region":    ctlMessage(uapi.CtlRequest{Size: size, Op: stats, Region: 1}),
		"region 0":             ctlMessage(uapi.CtlRequest{Size: size, Op: region}),
		"a region that is not": ctlMessage(uapi.CtlRequest{Size: size, Op: region, Region: 2}),
		"region -1":            ctlMessage(uapi.CtlRequest{Size: size, Op: region, Region: 1<<32 - 1}),
	}
	random := rand.New(rand.NewSource(1))
	for i := range 50 {
		b := make([]byte, random.Intn(40))
		random.Read(b)
		all[fmt.Sprintf("random %d", i)] = b
	}
	return all
}

// sendDescriptors sends descriptors that nobody asked for, and many requests
// whose answers nobody reads.
func sendDescriptors(t *testing.T, dir string) {
	t.Helper()
	null := mustOpen(t, os.DevNull, os.O_RDONLY)
	defer null.Close()
	c, err := dialCtl(dir)
	must(t, err)
	defer c.Close()
	stats := ctlMessage(uapi.CtlRequest{Size: uint32(uapi.CtlRequestSize), Op: uapi.CtlStats})
	must(t, c.SetWriteDeadline(time.Now().Add(200*time.Millisecond)))
	for {
		_, _, err := c.WriteMsgUnix(stats, unix.UnixRights(int(null.Fd()), int(null.Fd())), nil)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return // the daemon reads no more from who does not read
		}
		must(t, err)
	}
}

func descriptorsOf(t *testing.T, m *mount) int {
	t.Helper()
	all, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", m.Process.Pid))
	must(t, err)
	return len(all)
}

// TestCtlCrowd: more clients than the daemon has descriptors for wait, without
// keeping it busy, and are served once others have gone.
func TestCtlCrowd(t *testing.T) {
	src := t.TempDir()
	writeNumbered(t, src, 1, 10)
	m := startMount(t, src)
	limit := unix.Rlimit{Cur: uint64(descriptorsOf(t, m) + 5), Max: 1 << 10}
	must(t, unix.Prlimit(m.Process.Pid, unix.RLIMIT_NOFILE, &limit, nil))
	const clients = 20
	var crowd []*net.UnixConn
	for range clients {
		crowd = append(crowd, mustDialCtl(t, m.dir))
	}
	complaints := func() int { return strings.Count(m.output(), "accept on the control socket") }
	eventually(t, "the daemon is out of descriptors", func() error {
		if complaints() == 0 {
			return errors.New("it did not complain")
		}
		return nil
	})
	time.Sleep(500 * time.Millisecond) // it tries again five times
	if n := complaints(); n != 1 {
		t.Errorf("it complained %d times", n)
	}
	for _, c := range crowd {
		r, text, _, err := exchangeCtl(c, ctlMessage(uapi.CtlRequest{Size: uint32(uapi.CtlRequestSize), Op: uapi.CtlStats}))
		if err != nil || r.Error != 0 || len(text) == 0 {
			t.Fatalf("one of the crowd: %+v, %v", r, err)
		}
		must(t, c.Close())
	}
}

// TestCtlIsTheDaemons: nobody else makes or removes anything beside the socket,
// also where the mount's own read-only flag is taken away.
func TestCtlIsTheDaemons(t *testing.T) {
	src := t.TempDir()
	writeNumbered(t, src, 1, 10)
	m := startMount(t, src, "--allow-other")
	dir, ctl, file := m.path(".hbmfs"), m.path(".hbmfs/ctl"), m.path("1")
	changes := map[string]func() error{
		"mknod":  func() error { return unix.Mknod(dir+"/s", unix.S_IFSOCK|0o666, 0) },
		"mkfifo": func() error { return unix.Mkfifo(dir+"/p", 0o666) },
		"bind": func() error {
			return second(net.ListenUnix("unixpacket", &net.UnixAddr{Net: "unixpacket", Name: dir + "/bound"}))
		},
		"create":              func() error { return second(os.Create(dir + "/f")) },
		"mkdir":               func() error { return unix.Mkdir(dir+"/d", 0o755) },
		"symlink":             func() error { return unix.Symlink("ctl", dir+"/l") },
		"link":                func() error { return unix.Link(ctl, dir+"/l") },
		"link in":             func() error { return unix.Link(file, dir+"/l") },
		"unlink":              func() error { return unix.Unlink(ctl) },
		"rename":              func() error { return unix.Rename(ctl, dir+"/old") },
		"rename over":         func() error { return unix.Rename(file, ctl) },
		"rmdir":               func() error { return unix.Rmdir(dir) },
		"rename .hbmfs":       func() error { return unix.Rename(dir, m.path("old")) },
		"chmod":               func() error { return unix.Chmod(ctl, 0) },
		"chown":               func() error { return unix.Chown(ctl, nobody, nobody) },
		"chmod .hbmfs":        func() error { return unix.Chmod(dir, 0o777) },
		"mknod in the root":   func() error { return unix.Mknod(m.path("s"), unix.S_IFSOCK|0o666, 0) },
		"mknod ctl elsewhere": func() error { return unix.Mknod(m.path("ctl"), unix.S_IFSOCK|0o666, 0) },
	}
	try := func(when string) {
		t.Helper()
		for what, change := range changes {
			if err := change(); !errors.Is(err, unix.EROFS) {
				t.Errorf("%s, %s: %v, want EROFS", what, when, err)
			}
		}
		attempt(t, nobody, "bind EROFS|EACCES "+dir+"/bound")
		if err := mustDialCtl(t, m.dir).Close(); err != nil {
			t.Error(err)
		}
	}
	try("mounted read-only")
	must(t, unix.Mount("", m.dir, "", unix.MS_REMOUNT|unix.MS_BIND, ""))
	try("mounted writable")
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) > 1 {
		t.Errorf("%v in .hbmfs, %v", entries, err)
	}
}

// checkHeldAs reads the leased segments of a numbered file again.
func checkHeldAs(t *testing.T, f *client.File, held fetched, number int) {
	t.Helper()
	for _, s := range held.Segments {
		b, err := f.Bytes(s)
		must(t, err)
		checkTagged(t, b, number, 1, s.FileOffset)
	}
}

// TestCtlOfOneUser: who has as many connections as may be is told so, the log says
// whose limit it is, and what he has goes on.
func TestCtlOfOneUser(t *testing.T) {
	src := t.TempDir()
	writeNumbered(t, src, 1, 10)
	m := startMount(t, src)
	const most = 256
	var crowd []*net.UnixConn
	for range most {
		crowd = append(crowd, mustDialCtl(t, m.dir))
	}
	defer func() {
		for _, c := range crowd {
			c.Close()
		}
	}()
	eventually(t, "one more is refused", func() error {
		c := mustDialCtl(t, m.dir)
		defer c.Close()
		c.SetReadDeadline(time.Now().Add(time.Second))
		var reply [256]byte
		n, err := c.Read(reply[:])
		if err != nil || n < 8 || syscall.Errno(binary.NativeEndian.Uint32(reply[4:])) != syscall.EMFILE {
			return fmt.Errorf("%x, %v", reply[:n], err)
		}
		return nil
	})
	eventually(t, "the log says so", func() error {
		if out := m.output(); !strings.Contains(out, `msg="refused: too many clients of the control socket" client="uid 0"`) {
			return errors.New(out)
		}
		return nil
	})
	r, text, _, err := exchangeCtl(crowd[0], ctlMessage(uapi.CtlRequest{Size: uint32(uapi.CtlRequestSize), Op: uapi.CtlStats}))
	if err != nil || r.Error != 0 || len(text) == 0 {
		t.Errorf("one of the crowd: %+v, %v", r, err)
	}
}
