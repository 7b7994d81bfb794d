package client

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"hbmfs/fs/uapi"
)

func TestOpenMountElsewhere(t *testing.T) {
	dir := t.TempDir()
	file, fifo := filepath.Join(dir, "file"), filepath.Join(dir, "fifo")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, file, fifo, "/", "/dev/null"} {
		m, err := OpenMount(path)
		if !errors.Is(err, ErrNotHBMFS) || !strings.Contains(err.Error(), path) || m != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
	if _, err := Open(file); !errors.Is(err, ErrNotHBMFS) {
		t.Errorf("%v", err)
	}
	if _, err := OpenMount(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

func TestOpenOutsideOfTheMount(t *testing.T) {
	dir := t.TempDir()
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		t.Fatal(err)
	}
	m := &Mount{root: "/mnt/data", dev: st.Dev + 1, path: dir}
	if f, err := m.Open(dir); !errors.Is(err, ErrNotHBMFS) || !strings.Contains(err.Error(), "/mnt/data") || f != nil {
		t.Errorf("%v", err)
	}
	if _, err := m.Info(); !errors.Is(err, ErrNotHBMFS) {
		t.Errorf("another mount in its place: %v", err)
	}
	if _, err := m.Open(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

func TestMountRoot(t *testing.T) {
	// procfs is mounted on /proc everywhere, and this far beneath it is still it.
	path := "/proc/self/fdinfo"
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		unsupported(t, "no procfs: "+err.Error())
	}
	if root, err := mountRoot(path, st.Dev); err != nil || root != "/proc" {
		t.Errorf("%q, %v", root, err)
	}
	if err := unix.Stat("/", &st); err != nil {
		t.Fatal(err)
	}
	if root, err := mountRoot("/", st.Dev); err != nil || root != "/" {
		t.Errorf("%q, %v", root, err)
	}
}

func TestInfo(t *testing.T) {
	raw := uapi.Info{Size: uint32(uapi.InfoSize), ABIVersion: 1, DeviceCount: 1, TransportCount: 2, ExtentSize: 1 << 20,
		Features: uapi.FeatureChecksums | uapi.FeatureRequireDirect}
	raw.Devices[0] = uapi.Device{ID: 4, Flags: uapi.DeviceCPU, Pool: 1 << 30}
	uapi.PutCString(raw.Devices[0].Name[:], "memfd")
	raw.Transports[0] = uapi.Transport{Path: uint32(uapi.PathRDMA)}
	uapi.PutCString(raw.Transports[0].Name[:], "rdma")
	uapi.PutCString(raw.Transports[0].Reason[:], "no device")
	raw.Transports[1] = uapi.Transport{Path: uint32(uapi.PathStaged), Flags: uapi.TransportUsable | uapi.TransportChosen | uapi.TransportEncrypted}
	uapi.PutCString(raw.Transports[1].Name[:], "tcp")
	calls := 0
	got, err := readInfo(&fakeFile{answer: func(cmd uint32, arg []byte) syscall.Errno {
		if err := uapi.DecodeInfo(cmd, arg); err != nil {
			t.Error(err)
		}
		if calls++; calls == 1 {
			return syscall.EINTR
		}
		uapi.EncodeInfo(arg, &raw)
		return 0
	}})
	want := Info{ABIVersion: 1, ExtentSize: 1 << 20, Checksums: true, RequireDirect: true,
		Devices: []Device{{ID: 4, Name: "memfd", Pool: 1 << 30, CPU: true}},
		Transports: []Transport{
			{Name: "rdma", Path: uapi.PathRDMA, Reason: "no device"},
			{Name: "tcp", Path: uapi.PathStaged, Usable: true, Chosen: true, Encrypted: true},
		}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v, %v\nwant %+v", got, err, want)
	}
}

func TestInfoRefused(t *testing.T) {
	for name, change := range map[string]func(*uapi.Info){
		"ABI":        func(i *uapi.Info) { i.ABIVersion = 0 },
		"size":       func(i *uapi.Info) { i.Size++ },
		"devices":    func(i *uapi.Info) { i.DeviceCount = uapi.MaxDevices + 1 },
		"transports": func(i *uapi.Info) { i.TransportCount = math.MaxUint32 },
		"extents":    func(i *uapi.Info) { i.ExtentSize = 1 << 63 },
	} {
		_, err := readInfo(&fakeFile{answer: func(_ uint32, arg []byte) syscall.Errno {
			raw := uapi.Info{Size: uint32(uapi.InfoSize), ABIVersion: 1}
			change(&raw)
			uapi.EncodeInfo(arg, &raw)
			return 0
		}})
		if !errors.Is(err, ErrProtocol) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := readInfo(&fakeFile{answer: fails(syscall.ENOTCONN)}); !errors.Is(err, syscall.ENOTCONN) || errors.Is(err, ErrNotHBMFS) {
		t.Errorf("a mount whose daemon is gone: %v", err)
	}
}

func TestCloseWithItsMount(t *testing.T) {
	_, m := newFakeCtl(t, nil)
	f := &File{path: "a", sys: &fakeFile{}, mount: m, ownsMount: true}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Bytes(Segment{}); !errors.Is(err, ErrClosed) {
		t.Errorf("%v", err)
	}
}
