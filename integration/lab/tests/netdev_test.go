package tests

import (
	"fmt"
	"net"

	"github.com/mdlayher/genetlink"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// The kernel's "netdev" family, from linux/netdev.h of Linux 6.12.
const (
	netdevCmdBindRX     = 13 // NETDEV_CMD_BIND_RX
	netdevDMABufIfindex = 1  // NETDEV_A_DMABUF_IFINDEX
	netdevDMABufQueues  = 2  // NETDEV_A_DMABUF_QUEUES
	netdevDMABufFD      = 3  // NETDEV_A_DMABUF_FD
	netdevDMABufID      = 4  // NETDEV_A_DMABUF_ID
	netdevQueueID       = 1  // NETDEV_A_QUEUE_ID
	netdevQueueType     = 3  // NETDEV_A_QUEUE_TYPE
	netdevQueueTypeRX   = 0  // NETDEV_QUEUE_TYPE_RX
)

// ask sends a command of a generic netlink family, and returns the answers.
func ask(c *genetlink.Conn, family string, command uint8, flags netlink.HeaderFlags,
	attrs func(*netlink.AttributeEncoder)) ([]genetlink.Message, error) {
	f, err := c.GetFamily(family)
	if err != nil {
		return nil, err
	}
	ae := netlink.NewAttributeEncoder()
	attrs(ae)
	data, err := ae.Encode()
	if err != nil {
		return nil, err
	}
	m := genetlink.Message{Header: genetlink.Header{Command: command, Version: f.Version}, Data: data}
	return c.Execute(m, f.ID, netlink.Request|flags)
}

// dial opens a netlink socket that passes on the kernel's own words for an error.
func dial() (*genetlink.Conn, error) {
	c, err := genetlink.Dial(nil)
	if err == nil {
		err = c.SetOption(netlink.ExtendedAcknowledge, true)
	}
	return c, err
}

// bindRX binds a dma-buf to a receive queue for as long as c is open, and
// returns the binding's number.
func bindRX(c *genetlink.Conn, device string, queue uint32, dmabuf int) (uint32, error) {
	dev, err := net.InterfaceByName(device)
	if err != nil {
		return 0, err
	}
	answers, err := ask(c, "netdev", netdevCmdBindRX, 0, func(ae *netlink.AttributeEncoder) {
		ae.Uint32(netdevDMABufIfindex, uint32(dev.Index))
		ae.Uint32(netdevDMABufFD, uint32(dmabuf))
		ae.Nested(netdevDMABufQueues, func(ae *netlink.AttributeEncoder) error {
			ae.Uint32(netdevQueueID, queue)
			ae.Uint32(netdevQueueType, netdevQueueTypeRX)
			return nil
		})
	})
	if err != nil {
		return 0, fmt.Errorf("bind-rx: %w", err)
	}
	if len(answers) != 1 {
		return 0, fmt.Errorf("bind-rx: %d answers", len(answers))
	}
	ad, err := netlink.NewAttributeDecoder(answers[0].Data)
	if err != nil {
		return 0, err
	}
	for ad.Next() {
		if ad.Type() == netdevDMABufID {
			return ad.Uint32(), ad.Err()
		}
	}
	return 0, fmt.Errorf("bind-rx: no number in the answer: %w", ad.Err())
}

// setSplit is a child: it sets the device of args[0] to tcp-data-split on or off.
func setSplit(args []string) error {
	c, err := dial()
	if err != nil {
		return err
	}
	defer c.Close()
	value := uint8(1) // ETHTOOL_TCP_DATA_SPLIT_DISABLED, linux/ethtool.h of Linux 6.12
	if args[1] == "on" {
		value = 2
	}
	_, err = ask(c, "ethtool", unix.ETHTOOL_MSG_RINGS_SET, netlink.Acknowledge, func(ae *netlink.AttributeEncoder) {
		ae.Nested(unix.ETHTOOL_A_RINGS_HEADER, func(ae *netlink.AttributeEncoder) error {
			ae.String(unix.ETHTOOL_A_HEADER_DEV_NAME, args[0])
			return nil
		})
		ae.Uint8(unix.ETHTOOL_A_RINGS_TCP_DATA_SPLIT, value)
	})
	if err != nil {
		return fmt.Errorf("rings-set: %w", err)
	}
	return nil
}
