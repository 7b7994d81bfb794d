package main

import (
	"errors"
	"fmt"

	"hbmfs/cache/device"
	"hbmfs/fs/uapi"
	"hbmfs/remote/server"
	"hbmfs/transport"
	"hbmfs/transport/devmemtcp"
	"hbmfs/transport/inproc"
	"hbmfs/transport/rdma"
	"hbmfs/transport/tcp"
)

// candidates are all transports, the most direct first. local is nil unless the
// target is in this process.
func (m *mounter) candidates(local *server.Server) []transport.Candidate {
	inClear := transport.CheckClear(m.tls, m.o.dataPlaintext)
	return []transport.Candidate{
		{Name: rdma.Name, Path: uapi.PathRDMA, Transport: rdma.New(), Err: inClear},
		m.devmemCandidate(inClear),
		{Name: tcp.Name, Path: uapi.PathStaged, Transport: tcp.New(m.tls != nil)},
		inprocCandidate(local),
	}
}

func inprocCandidate(local *server.Server) transport.Candidate {
	c := transport.Candidate{Name: inproc.Name, Path: uapi.PathHost}
	if local == nil {
		c.Err = fmt.Errorf("%w: the source is not in the daemon; mount a local path to use it", transport.ErrUnavailable)
		return c
	}
	c.Transport = inproc.New(local)
	return c
}

// devmemCandidate needs a NIC to be named: it takes receive queues away from
// everyone else.
func (m *mounter) devmemCandidate(inClear error) transport.Candidate {
	c := transport.Candidate{Name: devmemtcp.Name, Path: uapi.PathDevmemTCP}
	err := devmemtcp.CheckKernel()
	switch {
	case err != nil:
	case inClear != nil:
		c.Err = inClear
		return c
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
