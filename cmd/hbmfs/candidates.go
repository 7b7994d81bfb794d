package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"hbmfs/cache/device"
	"hbmfs/remote/target"
	"hbmfs/transport"
	"hbmfs/transport/devmemtcp"
	"hbmfs/transport/inproc"
	"hbmfs/transport/rdma"
	"hbmfs/transport/tcp"
)

// candidates are all transports, the most direct first. local is nil unless the
// target is in this process.
func (m *mounter) candidates(local *target.Target) []transport.Candidate {
	return []transport.Candidate{
		rdmaCandidate(m.tls, m.o.dataPlaintext),
		m.devmemCandidate(),
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

// devmemCandidate needs a NIC to be named: it takes receive queues away from
// everyone else.
func (m *mounter) devmemCandidate() transport.Candidate {
	c := transport.Candidate{Name: devmemtcp.Name, Path: transport.PathDevmemTCP}
	err := knowsDevmemTCP()
	switch {
	case err != nil:
	case m.tls != nil && !m.o.dataPlaintext:
		err = errors.New("the mount uses TLS, and devmem-tcp carries payload in clear; allow that with --data-plaintext")
	case m.o.nic == "":
		err = errors.New("no network interface to take receive queues of; name it with --nic")
	default:
		c.Transport = devmemtcp.New(devmemtcp.Config{
			NIC: m.o.nic, Queues: m.o.queues, Pairs: m.o.connections, Pool: receivePool,
			LendQueues: m.o.lendQueues, Reserve: m.lend.reserve,
		})
		return c
	}
	c.Err = fmt.Errorf("%w: %w", transport.ErrUnavailable, err)
	return c
}

// receivePool allocates what NICs write to: memory with a dma-buf, which belongs
// to no user.
func receivePool(size int64) (devmemtcp.PoolMemory, error) {
	p, err := device.Open("udmabuf")
	if err != nil {
		return nil, err
	}
	return p.Alloc(transport.Domain{}, size)
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
	return fmt.Errorf("the kernel has no device memory TCP (setsockopt SO_DEVMEM_DONTNEED: %w); Linux 6.12 has, with CONFIG_NET_DEVMEM", err)
}
