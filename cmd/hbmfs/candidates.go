package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/Mellanox/rdmamap"
	"golang.org/x/sys/unix"

	"hbmfs/transport"
)

// absentCandidates are the direct transports, which this version has none of:
// each says what a probe of the host found.
func absentCandidates() []transport.Candidate {
	return []transport.Candidate{
		{Name: "rdma", Path: transport.PathRDMA, Err: probeRDMA()},
		{Name: "devmem-tcp", Path: transport.PathDevmemTCP, Err: probeDevmemTCP()},
	}
}

func probeRDMA() error {
	const class = rdmamap.RdmaClassDir
	devices := rdmamap.GetRdmaDeviceList()
	if len(devices) > 0 {
		return fmt.Errorf("%w: this version of hbmfs has no rdma transport (the host has %s)",
			transport.ErrUnavailable, strings.Join(devices, ", "))
	}
	if _, err := os.ReadDir(class); err != nil {
		return fmt.Errorf("%w: no RDMA device on this host (%w); and this version of hbmfs has no rdma transport", transport.ErrUnavailable, err)
	}
	return fmt.Errorf("%w: no RDMA device on this host (%s is empty); and this version of hbmfs has no rdma transport", transport.ErrUnavailable, class)
}

func probeDevmemTCP() error {
	if err := knowsDevmemTCP(); err != nil {
		return fmt.Errorf("%w: the kernel has no device memory TCP (%w); and this version of hbmfs has no devmem-tcp transport",
			transport.ErrUnavailable, err)
	}
	return fmt.Errorf("%w: this version of hbmfs has no devmem-tcp transport (the kernel has device memory TCP)", transport.ErrUnavailable)
}

// knowsDevmemTCP gives tokens back in the wrong size: EINVAL from a kernel that
// has device memory TCP, ENOPROTOOPT from one that does not.
func knowsDevmemTCP() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DEVMEM_DONTNEED, 0)
	if errors.Is(err, unix.EINVAL) {
		return nil
	}
	return os.NewSyscallError("setsockopt SO_DEVMEM_DONTNEED", err)
}
