package device

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"hbmfs/transport"
	"hbmfs/transport/probe"
)

// probeSize is how much memory a probe asks for, in bytes: one extent of the
// default size.
const probeSize = 1 << 20

// Probe tries each kind of device memory, and whether memory can be locked, as
// devices that write into it want it.
func Probe() []probe.Finding {
	return []probe.Finding{
		probe.Of("device", "memfd", "allow memfd_create and file seals: a seccomp filter may forbid them",
			func() (string, error) { return tryProvider(memfd{}) }).Need(true),
		probe.Of("device", "udmabuf", "modprobe udmabuf and give this user access to "+udmabufNode+", or use --device memfd",
			func() (string, error) { return tryProvider(udmabuf{}) }),
		probe.Of("device", "cuda", "use --device memfd", func() (string, error) { return "", absent("/dev/nvidiactl") }),
		probe.Of("mount", "memlock", "raise the limit: ulimit -l, or LimitMEMLOCK= in the unit", tryLock),
	}
}

// ProbeMemory is a region for others to probe with, with a dma-buf where the host
// makes one. The caller closes it.
func ProbeMemory() (Region, error) {
	dom := transport.Domain{UID: uint32(os.Geteuid())}
	r, err := udmabuf{}.Alloc(dom, probeSize)
	if err == nil {
		return r, nil
	}
	r, second := memfd{}.Alloc(dom, probeSize)
	if second != nil {
		return nil, errors.Join(err, second)
	}
	return r, nil
}

// tryProvider allocates an extent's worth of memory and stores to it.
func tryProvider(p Provider) (string, error) {
	mem, err := p.Alloc(transport.Domain{UID: uint32(os.Geteuid())}, probeSize)
	if err != nil {
		return "", err
	}
	defer mem.Close()
	mem.CopyIn(probeSize-1, []byte{1}, func(copied error) { err = copied })
	text := "allocated, mapped and sealed a region"
	if _, _, ok := mem.DMABuf(); ok {
		text += ", with a dma-buf"
	}
	return text, err
}

// absent refuses a device of which this version has no provider, whatever the
// host has.
func absent(node string) error {
	f, err := os.OpenFile(node, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("not in this version of hbmfs; and %w", err)
	}
	f.Close()
	return fmt.Errorf("not in this version of hbmfs (the host has %s)", node)
}

func tryLock() (string, error) {
	mem, err := unix.Mmap(-1, 0, probeSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
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
	return fmt.Sprintf("locked an extent; the limit is %d KiB", limit.Cur>>10), nil
}
