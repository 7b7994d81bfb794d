package integration

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"hbmfs/fs"
	"hbmfs/fs/client"
)

// command runs the program and returns its standard output and exit code.
func command(t *testing.T, args ...string) (string, int) {
	t.Helper()
	var out, complaint bytes.Buffer
	cmd := exec.Command(bin, args...)
	cmd.Stdout, cmd.Stderr = &out, &complaint
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		t.Logf("hbmfs %v: %v: %s", args, err, complaint.String())
		return out.String(), exit.ExitCode()
	}
	must(t, err)
	return out.String(), 0
}

// fileReport is what scripts read of `hbmfs read --json`. Members are pointers
// where a missing one must be told from a zero.
type fileReport struct {
	File       string
	Bytes      *int64
	Segments   *int64
	Path       string
	Reason     string
	Seconds    *float64
	Mismatches *int
	Lent       *int64
	Verified   bool
	Wrong      []struct{ Offset, Length int64 }
	Error      string
}

func readJSON(t *testing.T, args ...string) ([]fileReport, int) {
	t.Helper()
	out, code := command(t, append([]string{"read", "--json"}, args...)...)
	var all []fileReport
	for d := json.NewDecoder(bytes.NewReader([]byte(out))); d.More(); {
		var r fileReport
		if err := d.Decode(&r); err != nil {
			t.Fatalf("hbmfs read --json: %v\n%s", err, out)
		}
		if r.Bytes == nil || r.Segments == nil || r.Seconds == nil || r.Mismatches == nil {
			t.Fatalf("hbmfs read --json lacks a member:\n%s", out)
		}
		all = append(all, r)
	}
	return all, code
}

// TestRead: what read tells of whole files, of ranges, and of files that it
// can't read, with a pool that the files do not fit in.
func TestRead(t *testing.T) {
	const size = 20*extent + 77
	src := t.TempDir()
	writeNumbered(t, src, 1, size)
	writeNumbered(t, src, 2, 0)
	for via, source := range sources(t, src) {
		m := startMount(t, source, small(6)...)
		one, two := m.path("1"), m.path("2")
		for _, c := range []struct {
			args            []string
			bytes, segments []int64
		}{
			{[]string{one}, []int64{size}, []int64{21}},
			{[]string{"--verify", one, two}, []int64{size, 0}, []int64{21, 0}},
			{[]string{"--verify", "--range", "100:64KiB", one}, []int64{extent}, []int64{2}},
			{[]string{"--verify", "--range", "1280KiB:1GiB", one}, []int64{77}, []int64{1}},
			{[]string{"--verify", "--range", "1GiB:1", one}, []int64{0}, []int64{0}},
		} {
			all, code := readJSON(t, c.args...)
			if code != 0 || len(all) != len(c.bytes) {
				t.Fatalf("%s %v: exit code %d, %+v", via, c.args, code, all)
			}
			for i, r := range all {
				path, reason := how[via].path.String(), how[via].why.String()
				if c.bytes[i] == 0 {
					path, reason = r.Path, r.Reason
				}
				if *r.Bytes != c.bytes[i] || *r.Segments != c.segments[i] || r.Path != path || r.Reason != reason ||
					*r.Mismatches != 0 || *r.Seconds <= 0 || r.Verified != (c.args[0] == "--verify") || r.Error != "" ||
					!slices.Contains(c.args, r.File) {
					t.Errorf("%s %v: %+v, %d bytes, %d segments", via, c.args, r, *r.Bytes, *r.Segments)
				}
			}
		}
		m.awaitLeases(0)
	}
}

// TestReadSmallPool: a pool of a single extent is enough, however the range lies.
func TestReadSmallPool(t *testing.T) {
	const size = 20*extent + 77
	src := t.TempDir()
	writeNumbered(t, src, 1, size)
	for via, source := range sources(t, src) {
		for pool := 1; pool <= 3; pool++ {
			m := startMount(t, source, small(pool)...)
			for span, want := range map[string]int64{"0:1GiB": size, "100:1MiB": 1 << 20} {
				all, code := readJSON(t, "--verify", "--range", span, m.path("1"))
				if code != 0 || *all[0].Bytes != want || *all[0].Mismatches != 0 {
					t.Errorf("%s, pool of %d, %s: exit code %d, %+v", via, pool, span, code, all)
				}
			}
			m.awaitLeases(0)
		}
	}
}

// TestReadFailures: a file that can't be read does not stop the others.
func TestReadFailures(t *testing.T) {
	src := t.TempDir()
	writeNumbered(t, src, 1, 1000)
	m := startMount(t, src)
	good, missing, elsewhere := m.path("1"), m.path("nothing"), filepath.Join(src, "1")
	all, code := readJSON(t, missing, good)
	if code == 0 || len(all) != 2 || all[0].Error == "" || all[1].Error != "" || *all[1].Bytes != 1000 {
		t.Errorf("exit code %d, %+v", code, all)
	}
	for _, path := range []string{elsewhere, m.dir} {
		if all, code := readJSON(t, path); code == 0 || len(all) != 1 || all[0].Error == "" {
			t.Errorf("%s: exit code %d, %+v", path, code, all)
		}
	}
	if _, code := command(t, "read", "--range", "5", good); code != 2 {
		t.Errorf("a bad range: exit code %d, want 2", code)
	}
}

// TestReadFindsWrongBytes plants one wrong byte in device memory, and read
// --verify says where it is.
func TestReadFindsWrongBytes(t *testing.T) {
	const size, at = 40*extent + 1, 20*extent + 5
	src := t.TempDir()
	writeNumbered(t, src, 1, size)
	m := startMount(t, src, small(64)...)
	if all, code := readJSON(t, "--verify", m.path("1")); code != 0 || *all[0].Mismatches != 0 {
		t.Fatalf("before: exit code %d, %+v", code, all)
	}
	f := openFile(t, m.path("1"))
	plant(t, m, pin(t, f, at, 1, client.FetchOptions{}).Segments[0].RegionOffset)
	all, code := readJSON(t, "--verify", f.Name())
	if code != 3 || len(all) != 1 || *all[0].Mismatches != 1 || len(all[0].Wrong) != 1 || all[0].Error == "" {
		t.Fatalf("after: exit code %d, %+v", code, all)
	}
	if w := all[0].Wrong[0]; w.Offset > at || w.Offset+w.Length <= at {
		t.Errorf("the wrong byte is at %d, not in %+v", at, w)
	}
}

// plant changes a byte of the only region, through the daemon's own mapping:
// nobody else can.
func plant(t *testing.T, m *mount, off int64) {
	t.Helper()
	maps := mustRead(t, fmt.Sprintf("/proc/%d/maps", m.Process.Pid))
	found := regexp.MustCompile(`(?m)^([0-9a-f]+)-.*memfd:hbmfs-region`).FindSubmatch(maps)
	if found == nil {
		t.Fatalf("no region in\n%s", maps)
	}
	at, err := strconv.ParseInt(string(found[1]), 16, 64)
	must(t, err)
	mem := mustOpen(t, fmt.Sprintf("/proc/%d/mem", m.Process.Pid), os.O_RDWR)
	defer mem.Close()
	b := make([]byte, 1)
	_, err = mem.ReadAt(b, at+off)
	must(t, err)
	b[0] ^= 1
	_, err = mem.WriteAt(b, at+off)
	must(t, err)
}

// TestStat: the counters of what was done, as JSON and as text.
func TestStat(t *testing.T) {
	src := t.TempDir()
	writeNumbered(t, src, 1, 3*extent)
	_, addr := startTarget(t, "127.0.0.1:0", "data="+src)
	m := startMount(t, addr+"/data", append(small(8), "--connections", "3")...)
	fetchAll(t, m.path("1"), 0, 3*extent)
	f := openFile(t, m.path("1"))
	pin(t, f, 0, 3*extent, client.FetchOptions{})
	mustRead(t, m.path("1"))
	s := m.stats()
	c := s.Cache
	if c.Fetches != 2 || c.Misses != 3 || c.Hits != 3 || c.Leases != 1 || c.Regions != 1 || c.RegionBytes != 8*extent ||
		c.Resident.Extents != 3 || c.Bytes[how["tcp"].path] != 3*extent || s.Target.Link.Connections != 3 || len(s.Target.Links) != 1 || s.Target.Links["tcp"] != s.Target.Link || s.PlainBytes != 3*extent {
		t.Errorf("%+v", s)
	}
	if s.Source != addr+"/data" || s.PID != m.Process.Pid || s.Extent != extent || len(s.Devices) != 1 || s.Devices[0] != (fs.DeviceStats{Name: "memfd", CPU: true, Pool: 8 * extent, Pins: 4 * extent}) {
		t.Errorf("%+v", s)
	}
	for _, tr := range s.Transports {
		if tr.Why == "" || tr.Chosen != (tr.Name == "tcp") || tr.Encrypted {
			t.Errorf("%+v", tr)
		}
	}
	if _, err := f.Fetch(context.Background(), -1, 1, client.FetchOptions{}); err == nil {
		t.Error("a FETCH at -1 was granted")
	}
	if n := m.stats().Errors["EINVAL"]; n != 1 {
		t.Errorf("%d errors with EINVAL, want 1", n)
	}
	if text, code := command(t, "stat", m.dir); code != 0 || !regexp.MustCompile(`(?s)fetched in all +192.0 KiB for 384.0 KiB that were asked for .0.50 times..*leases.*slots +192.0 KiB, 0.0 % of it unused.*link tcp +3 up`).MatchString(text) {
		t.Errorf("stat: exit code %d, %s", code, text)
	}
	if _, code := command(t, "stat", src); code != 5 {
		t.Errorf("stat of what is no mount: exit code %d, want 5", code)
	}
}

// TestDoctor: for each device and transport, whether it can be used; why not,
// and what to do. What these tests use, it must find usable.
func TestDoctor(t *testing.T) {
	out, code := command(t, "doctor", "--json")
	var findings []struct {
		Kind, Name, Detail, Remedy string
		Usable, Needed             bool
	}
	if err := json.Unmarshal([]byte(out), &findings); err != nil || code != 0 {
		t.Fatalf("exit code %d, %v\n%s", code, err, out)
	}
	usable := make(map[string]bool)
	nics := false // one that devmem-tcp could use
	for _, f := range findings {
		usable[f.Kind+" "+f.Name] = f.Usable
		nics = nics || f.Kind == "nic" && f.Usable && !strings.Contains(f.Name, " ")
		if f.Detail == "" || f.Usable != (f.Remedy == "") {
			t.Errorf("%+v: must say what was found, and a remedy if it can't be used", f)
		}
	}
	if nics != usable["transport devmem-tcp"] {
		t.Errorf("doctor says of devmem-tcp that it can be used: %v, and of the NICs: %v", !nics, nics)
	}
	for _, name := range []string{"device memfd", "transport inproc", "transport tcp", "mount /dev/fuse"} {
		if !usable[name] {
			t.Errorf("%s is in use here, and doctor says: %v", name, usable)
		}
	}
	for _, name := range []string{"device cuda", "device udmabuf", "transport rdma", "transport devmem-tcp"} {
		if _, told := usable[name]; !told {
			t.Errorf("doctor does not tell of %s", name)
		}
	}
}

// TestLogReaderGone: a mount and a target outlive whoever read their log, and
// still end in order.
func TestLogReaderGone(t *testing.T) {
	src, mnt := t.TempDir(), t.TempDir()
	for sign, args := range map[string][]string{
		"mounted ": {"mount", "--foreground", src, mnt},
		"serving ": {"serve", "--listen", "127.0.0.1:0", "data=" + src},
	} {
		r, w, err := os.Pipe()
		must(t, err)
		cmd := exec.Command(bin, args...)
		cmd.Stdout, cmd.Stderr = w, w
		must(t, cmd.Start())
		t.Cleanup(func() { cmd.Process.Kill() }) // if still there
		must(t, w.Close())
		lines := bufio.NewScanner(r)
		for lines.Scan() && !strings.HasPrefix(lines.Text(), sign) {
			continue
		}
		must(t, r.Close())
		if _, addr, ok := strings.Cut(lines.Text(), " on 127.0.0.1:"); ok {
			startMount(t, "127.0.0.1:"+addr+"/data") // which the target logs
		}
		must(t, cmd.Process.Signal(unix.SIGTERM))
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v: %v", args, err)
		}
	}
	if bytes.Contains(mustRead(t, "/proc/self/mountinfo"), []byte(" "+mnt+" ")) {
		t.Error("the mount is still there")
		must(t, unix.Unmount(mnt, unix.MNT_DETACH))
	}
}

// TestReadSpecialFiles: what has no ranges is refused for what it is, and does not
// pass for something that is not in the mount.
func TestReadSpecialFiles(t *testing.T) {
	src := t.TempDir()
	must(t, unix.Mkfifo(filepath.Join(src, "fifo"), 0o644))
	must(t, unix.Mknod(filepath.Join(src, "socket"), unix.S_IFSOCK|0o644, 0))
	must(t, os.Mkdir(filepath.Join(src, "dir"), 0o755))
	must(t, os.Symlink("fifo", filepath.Join(src, "link")))
	m := startMount(t, src)
	for name, what := range map[string]string{"fifo": "FIFO", "socket": "socket", "dir": "directory", "link": "FIFO", "": "directory"} {
		all, code := readJSON(t, m.path(name))
		if code != 1 || len(all) != 1 || !strings.Contains(all[0].Error, "not a regular file: it is a "+what) {
			t.Errorf("%q: exit code %d, %+v", name, code, all)
		}
	}
}
