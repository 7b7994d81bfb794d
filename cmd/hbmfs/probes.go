package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"hbmfs/cache/device"
	"hbmfs/transport"
)

// probeExtent is how much memory a probe asks for, in bytes: one extent of the
// default size.
const probeExtent = 1 << 20

const absentDevice = "use --device memfd"

func checks() []check {
	nics := inspection(sync.OnceValues(inspectNICs))
	return slices.Concat(hostChecks(nics), rdmaChecks(), nicChecks(nics))
}

func hostChecks(nics inspection) []check {
	return []check{
		{"device", "memfd", true, probeDevice("memfd"), "allow memfd_create and file seals: a seccomp filter may forbid them"},
		{"device", "udmabuf", false, probeDevice("udmabuf"), "modprobe udmabuf and give this user access to /dev/udmabuf, or use --device memfd"},
		{"device", "cuda", false, absent("/dev/nvidiactl"), absentDevice},
		{"transport", "inproc", true, probeHostCopy, ""},
		{"transport", "tcp", false, probeTCP, "bring up the loopback interface: ip link set lo up"},
		{"transport", "rdma", false, probeRDMA, "use --transport auto or tcp; for RDMA: a device, the modules ib_uverbs and rdma_ucm, and Debian's libibverbs1, librdmacm1 and ibverbs-providers"},
		{"transport", "devmem-tcp", false, func() (string, error) { return probeDevmem(nics) }, devmemRemedy},
		{"mount", "/dev/fuse", true, probeFuseDevice, "load the module (modprobe fuse), pass /dev/fuse into the container, or give this user access to it"},
		{"mount", "mount", os.Geteuid() == 0, probeMount, "run as root (in a container: with CAP_SYS_ADMIN), or use fusermount3"},
		{"mount", "fusermount3", os.Geteuid() != 0, probeFusermount, "install Debian's fuse3; root does without"},
		{"mount", "read-ahead", false, probeReadAhead, "mount as root with a writable /sys, or else buffered reads over a network are slow"},
		{"mount", "memlock", false, probeMemlock, "raise the limit: ulimit -l, or LimitMEMLOCK= in the unit"},
		{"target", "openat2", false, probeBeneath, "run targets on Linux 5.6 or later, and allow openat2 in the seccomp filter"},
		{"target", "read lease", false, probeLease, "serve from a local file system: without leases every file counts as unsettled"},
		{"host", "kernel", false, probeKernel, ""},
	}
}

// probeDevice allocates an extent's worth of a device's memory and stores to it.
func probeDevice(name string) func() (string, error) {
	return func() (string, error) {
		p, err := device.Open(name)
		if err != nil {
			return "", err
		}
		mem, err := p.Alloc(transport.Domain{UID: uint32(os.Geteuid())}, probeExtent)
		if err != nil {
			return "", err
		}
		defer mem.Close()
		mem.Bytes()[probeExtent-1] = 1
		if _, _, ok := mem.DMABuf(); ok {
			return "allocated, mapped and sealed a region, with a dma-buf", nil
		}
		return "allocated, mapped and sealed a region", nil
	}
}

// absent refuses a device of which this version has no provider, whatever the
// host has.
func absent(node string) func() (string, error) {
	return func() (string, error) {
		f, err := os.OpenFile(node, os.O_RDWR, 0)
		if err != nil {
			return "", fmt.Errorf("not in this version of hbmfs; and %w", err)
		}
		f.Close()
		return "", fmt.Errorf("not in this version of hbmfs (the host has %s)", node)
	}
}

func probeHostCopy() (string, error) {
	var done error
	mem := make(transport.HostMemory, 8)
	mem.CopyIn(0, []byte("8 bytes."), func(err error) { done = err })
	return "always: source and mount are one process", done
}

// probeTCP sends a byte over a loopback connection.
func probeTCP() (string, error) {
	l, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	go func() {
		if c, err := l.Accept(); err == nil {
			_, _ = c.Write([]byte{1}) // the reader tells
			c.Close()
		}
	}()
	c, err := net.DialTimeout("tcp", l.Addr().String(), 5*time.Second)
	if err != nil {
		return "", err
	}
	defer c.Close()
	c.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		return "", err
	}
	return "a loopback connection carried a byte; path staged", nil
}

func probeFuseDevice() (string, error) {
	f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	return "opened", f.Close()
}

// probeMount mounts a file system without a daemon, in a mount name space that
// dies with its thread, so that nothing of it is seen or left.
func probeMount() (string, error) {
	dir, err := os.MkdirTemp("", "hbmfs-doctor-")
	if err != nil {
		return "", err
	}
	defer os.Remove(dir)
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		done <- mountUnseen(dir)
	}()
	if err := <-done; err != nil {
		return "", err
	}
	return "mounted a fuse file system", nil
}

func mountUnseen(dir string) error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return os.NewSyscallError("unshare", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return os.NewSyscallError("mount private", err)
	}
	f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	data := fmt.Sprintf("fd=%d,rootmode=40000,user_id=%d,group_id=%d", f.Fd(), os.Geteuid(), os.Getegid())
	if err := unix.Mount("hbmfs-doctor", dir, "fuse.hbmfs", unix.MS_NOSUID|unix.MS_NODEV, data); err != nil {
		return os.NewSyscallError("mount", err)
	}
	return unix.Unmount(dir, unix.MNT_DETACH)
}

func probeFusermount() (string, error) {
	path, err := exec.LookPath("fusermount3")
	if err != nil {
		return "", err
	}
	if err := exec.Command(path, "--version").Run(); err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if info.Mode()&os.ModeSetuid == 0 {
		return "", fmt.Errorf("%s is not set-user-ID root, so it can't mount for other users", path)
	}
	return path, nil
}

// probeReadAhead opens, without writing, what a mount writes its read-ahead to.
func probeReadAhead() (string, error) {
	files, _ := filepath.Glob("/sys/class/bdi/*/read_ahead_kb")
	if len(files) == 0 {
		return "", errors.New("no /sys/class/bdi/*/read_ahead_kb on this host")
	}
	f, err := os.OpenFile(files[0], os.O_WRONLY, 0)
	if err != nil {
		return "", err
	}
	return "read_ahead_kb is writable", f.Close()
}

func probeMemlock() (string, error) {
	mem, err := unix.Mmap(-1, 0, probeExtent, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return "", os.NewSyscallError("mmap", err)
	}
	defer func() { _ = unix.Munmap(mem) }() // it goes with the process
	if err := unix.Mlock(mem); err != nil {
		return "", os.NewSyscallError("mlock", err)
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &limit); err != nil {
		return "", os.NewSyscallError("getrlimit", err)
	}
	if limit.Cur == unix.RLIM_INFINITY {
		return "locked an extent; no limit", nil
	}
	return fmt.Sprintf("locked an extent; the limit is %s", humanBytes(int64(limit.Cur))), nil
}

func probeBeneath() (string, error) {
	fd, err := unix.Openat2(unix.AT_FDCWD, ".", &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH})
	if err != nil {
		return "", os.NewSyscallError("openat2", err)
	}
	return "opened with RESOLVE_BENEATH", unix.Close(fd)
}

func probeLease() (string, error) {
	f, err := os.CreateTemp("", "hbmfs-doctor-")
	if err != nil {
		return "", err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	r, err := os.Open(f.Name())
	if err != nil {
		return "", err
	}
	defer r.Close()
	f.Close() // a writer that is still open would refuse the lease
	if _, err := unix.FcntlInt(r.Fd(), unix.F_SETLEASE, unix.F_RDLCK); err != nil {
		return "", os.NewSyscallError("fcntl F_SETLEASE", err)
	}
	return "taken on a file in " + os.TempDir(), nil
}

func probeKernel() (string, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "", os.NewSyscallError("uname", err)
	}
	return unix.ByteSliceToString(u.Release[:]), nil
}
