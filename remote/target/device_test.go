package target

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"hbmfs/transport"
)

const deviceSize = 1 << 20

// loopDevice returns a writable block device that holds version 1.
func loopDevice(t *testing.T) string {
	t.Helper()
	asRoot(t)
	image := t.TempDir() + "/image"
	if err := os.WriteFile(image, content(4, 1, deviceSize), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("losetup", "--find", "--show", image).CombinedOutput()
	if err != nil {
		unsupported(t, "no loop devices: "+strings.TrimSpace(string(out)))
	}
	dev := strings.TrimSpace(string(out))
	t.Cleanup(func() {
		setReadOnly(t, dev, "--setrw") // it would outlast the device
		exec.Command("losetup", "--detach", dev).Run()
	})
	return dev
}

func setReadOnly(t *testing.T, dev, how string) {
	t.Helper()
	if out, err := exec.Command("blockdev", how, dev).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

func TestBlockDevice(t *testing.T) {
	dev := loopDevice(t)
	if _, err := New(Config{Exports: []Export{{"disk", dev}}}); !errors.Is(err, errWritable) {
		t.Fatalf("a writable device: %v", err)
	}
	setReadOnly(t, dev, "--setro")
	m := newRig(t, Export{"disk", dev}).mount()
	name := filepath.Base(dev)
	attr, err := m.stat("disk", name)
	if err != nil || attr.Mode&unix.S_IFMT != unix.S_IFREG || attr.Size != deviceSize {
		t.Fatalf("%v, %v", attr, err)
	}
	version := transport.Version(attr.Version)
	reply, err := m.tryOpen("disk", name, &version)
	if err != nil || !reply.Settled {
		t.Fatalf("%v, %v", reply, err)
	}
	ref := refOf(reply)
	m.holds(ref, 4, 1, deviceSize)
	setReadOnly(t, dev, "--setrw")
	m.isStale(ref)
}

// TestBlockDeviceWritten makes a device writable between two reads, and writes
// to it by its own node or by another, which leaves the times of its own.
func TestBlockDeviceWritten(t *testing.T) {
	for _, own := range []bool{true, false} {
		dev := loopDevice(t)
		setReadOnly(t, dev, "--setro")
		m := newRig(t, Export{"disk", dev}).mount()
		name := filepath.Base(dev)
		reply, err := m.tryOpen("disk", name, nil)
		if err != nil {
			t.Fatal(err)
		}
		ref := refOf(reply)
		m.holds(ref, 4, 1, deviceSize)
		setReadOnly(t, dev, "--setrw")
		node := dev
		if !own {
			node = otherNode(t, dev)
		}
		writeDevice(t, node, content(4, 2, deviceSize))
		setReadOnly(t, dev, "--setro")
		if e := m.event(); e.Handle != ref.Handle {
			t.Errorf("an event about handle %d, not %d", e.Handle, ref.Handle)
		}
		m.isStale(ref)
		if _, err := m.tryOpen("disk", name, &ref.Version); errno(err) != uint32(unix.ESTALE) {
			t.Errorf("open of the old version: %v", err)
		}
		if reply, err = m.tryOpen("disk", name, nil); err != nil {
			t.Fatal(err)
		}
		m.holds(refOf(reply), 4, 2, deviceSize)
	}
}

func otherNode(t *testing.T, dev string) string {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(dev, &st); err != nil {
		t.Fatal(err)
	}
	node := t.TempDir() + "/node"
	if err := unix.Mknod(node, unix.S_IFBLK|0o600, int(st.Rdev)); err != nil {
		t.Fatal(err)
	}
	return node
}

func writeDevice(t *testing.T, dev string, b []byte) {
	t.Helper()
	w := openForWriting(t, dev)
	defer w.Close()
	_, err := w.WriteAt(b, 0)
	if err := errors.Join(err, w.Sync()); err != nil {
		t.Fatal(err)
	}
}

func TestParseWrites(t *testing.T) {
	for line, want := range map[string]uint64{
		"  593033   123064 78397906   374957    84581   213776 76337360   355000        0    80328   743102   129081       37 67763736    13082     1659       61\n": 84581 + 129081,
		"1 2 3 4 5 6 7 8 9 10 11\n": 5,
	} {
		if got, err := parseWrites([]byte(line)); got != want || err != nil {
			t.Errorf("%q: %d, %v", line, got, err)
		}
	}
	for _, line := range []string{"", "\n", "1 2 3 4", "no numbers"} {
		if _, err := parseWrites([]byte(line)); !errors.Is(err, errCounters) {
			t.Errorf("%q: %v", line, err)
		}
	}
}

func FuzzParseWrites(f *testing.F) {
	f.Add([]byte("1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17\n"))
	f.Add([]byte("\x00-1 2e9"))
	f.Fuzz(func(t *testing.T, line []byte) {
		if n, err := parseWrites(line); err != nil && n != 0 {
			t.Errorf("%d, %v", n, err)
		}
	})
}
