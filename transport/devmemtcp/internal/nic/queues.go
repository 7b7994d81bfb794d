package nic

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

func (s *sockets) queues(l link) ([]queue, error) {
	ae := netlink.NewAttributeEncoder()
	ae.Uint32(netdevQueueIfindex, uint32(l.Index))
	req, err := ae.Encode()
	if err != nil {
		return nil, err
	}
	msgs, err := execute(s.genl, netdevFamily, netdevCmdQueueGet, netdevVersion, netlink.Dump, req)
	if errors.Is(err, os.ErrNotExist) {
		err = unix.EOPNOTSUPP
	}
	if err != nil {
		return nil, needQueues.failed(err)
	}
	var all []queue
	for _, m := range msgs {
		q, receive, err := parseQueue(m.Data)
		if err != nil {
			return nil, fmt.Errorf("netlink: queue: %w", err)
		}
		if receive {
			all = append(all, q)
		}
	}
	return all, nil
}

// parseQueue reads one answer to QUEUE_GET.
func parseQueue(b []byte) (q queue, receive bool, err error) {
	err = decode(b, func(ad *netlink.AttributeDecoder) {
		switch ad.Type() {
		case netdevQueueID:
			q.ID = int(ad.Uint32())
		case netdevQueueType:
			receive = ad.Uint32() == netdevQueueTypeRX
		case netdevQueueDMABuf:
			q.DMABuf = ad.Uint32()
		case netdevQueueIOUring:
			q.Other = "io_uring"
		case netdevQueueXSK:
			q.Other = "AF_XDP"
		}
	})
	return q, receive, err
}

// bind gives the queues' memory to the socket that it returns: the kernel takes
// it back when that is closed.
func (s *sockets) bind(l link, dmabuf int, queues []int) (uint32, io.Closer, error) {
	req, err := bindRequest(l, dmabuf, queues)
	if err != nil {
		return 0, nil, err
	}
	c, err := dialGeneric()
	if err != nil {
		return 0, nil, err
	}
	b, err := one(execute(c, netdevFamily, netdevCmdBindRX, netdevVersion, 0, req))
	if errors.Is(err, os.ErrNotExist) {
		err = unix.EOPNOTSUPP
	}
	if err != nil {
		c.Close()
		return 0, nil, err
	}
	id, err := parseBinding(b)
	if err != nil {
		c.Close()
		return 0, nil, err
	}
	return id, c, nil
}

func bindRequest(l link, dmabuf int, queues []int) ([]byte, error) {
	ae := netlink.NewAttributeEncoder()
	ae.Uint32(netdevDMABufIfindex, uint32(l.Index))
	ae.Uint32(netdevDMABufFD, uint32(dmabuf))
	for _, q := range queues {
		ae.Nested(netdevDMABufQueues, func(qe *netlink.AttributeEncoder) error {
			qe.Uint32(netdevQueueID, uint32(q))
			qe.Uint32(netdevQueueType, netdevQueueTypeRX)
			return nil
		})
	}
	return ae.Encode()
}

// parseBinding reads the answer to BIND_RX.
func parseBinding(b []byte) (id uint32, err error) {
	err = decode(b, func(ad *netlink.AttributeDecoder) {
		if ad.Type() == netdevDMABufID {
			id = ad.Uint32()
		}
	})
	if err == nil && id == 0 {
		err = errors.New("netlink: the answer to bind-rx names no binding")
	}
	return id, err
}
