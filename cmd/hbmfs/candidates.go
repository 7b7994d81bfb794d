package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"hbmfs/remote/target"
	"hbmfs/transport"
	"hbmfs/transport/inproc"
	"hbmfs/transport/rdma"
	"hbmfs/transport/tcp"
)

// candidates are all transports, the most direct first. local is nil unless the
// target is in this process.
func (m *mounter) candidates(local *target.Target) []transport.Candidate {
	return []transport.Candidate{
		rdmaCandidate(m.tls, m.o.dataPlaintext),
		{Name: "devmem-tcp", Path: transport.PathDevmemTCP, Err: probeDevmemTCP()},
		{Name: tcp.Name, Path: transport.PathStaged, Transport: tcp.New(m.tls != nil)},
		inprocCandidate(local),
	}
}

// rdmaCandidate refuses RDMA to a mount that uses TLS, unless it was told that
// payload may travel in clear.
func rdmaCandidate(tlsConfig *tls.Config, plaintext bool) transport.Candidate {
	c := transport.Candidate{Name: rdma.Name, Path: transport.PathRDMA, Transport: rdma.New()}
	if tlsConfig != nil && !plaintext {
		c.Transport = nil
		c.Err = fmt.Errorf("%w: the mount uses TLS, and RDMA carries payload in clear; allow that with --data-plaintext", transport.ErrUnavailable)
	}
	return c
}

func inprocCandidate(local *target.Target) transport.Candidate {
	c := transport.Candidate{Name: inproc.Name, Path: transport.PathHost}
	if local == nil {
		c.Err = fmt.Errorf("%w: the source is not in the daemon; mount a local path to use it", transport.ErrUnavailable)
		return c
	}
	c.Transport = inproc.New(local)
	return c
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
