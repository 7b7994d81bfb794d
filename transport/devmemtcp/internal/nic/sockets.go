package nic

import (
	"fmt"
	"io"
	"os"

	"github.com/mdlayher/genetlink"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// sockets is the [kernel] itself. They stay in the network namespace that they
// were opened in.
type sockets struct {
	route *netlink.Conn
	genl  *genetlink.Conn
	fd    int // for ioctls
}

func openSockets() (*sockets, error) {
	s := &sockets{fd: -1}
	err := s.open()
	if err != nil {
		s.Close()
		return nil, fmt.Errorf("netlink: %w", err)
	}
	return s, nil
}

func (s *sockets) open() (err error) {
	if s.route, err = netlink.Dial(unix.NETLINK_ROUTE, nil); err != nil {
		return err
	}
	if s.genl, err = dialGeneric(); err != nil {
		return err
	}
	s.fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	return os.NewSyscallError("socket", err)
}

// dialGeneric has the kernel explain its errors.
func dialGeneric() (*genetlink.Conn, error) {
	c, err := genetlink.Dial(nil)
	if err != nil {
		return nil, err
	}
	if err := c.SetOption(netlink.ExtendedAcknowledge, true); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func (s *sockets) Close() error {
	if s.fd >= 0 {
		unix.Close(s.fd)
		s.fd = -1
	}
	for _, c := range s.conns() {
		c.Close()
	}
	s.route, s.genl = nil, nil
	return nil
}

func (s *sockets) conns() (all []io.Closer) {
	if s.route != nil {
		all = append(all, s.route)
	}
	if s.genl != nil {
		all = append(all, s.genl)
	}
	return all
}

// execute sends a command to a generic netlink family. A request that is
// answered must not ask for an acknowledgement too: it would be taken for the
// answer of the next.
func execute(c *genetlink.Conn, family string, cmd, version uint8, flags netlink.HeaderFlags, attrs []byte) ([]genetlink.Message, error) {
	f, err := c.GetFamily(family)
	if err != nil {
		return nil, err
	}
	m := genetlink.Message{Header: genetlink.Header{Command: cmd, Version: version}, Data: attrs}
	return c.Execute(m, f.ID, netlink.Request|flags)
}

// ethtoolDo sends a command of the ethtool family about a link.
func (s *sockets) ethtoolDo(cmd uint8, flags netlink.HeaderFlags, l link, fill func(*netlink.AttributeEncoder)) ([]genetlink.Message, error) {
	attrs, err := ethtoolRequest(l, flags&netlink.Acknowledge != 0, fill)
	if err != nil {
		return nil, err
	}
	return execute(s.genl, unix.ETHTOOL_GENL_NAME, cmd, unix.ETHTOOL_GENL_VERSION, flags, attrs)
}

// ethtoolRequest encodes a request: its header, which has the same number in
// every command, and what fill adds.
func ethtoolRequest(l link, omitReply bool, fill func(*netlink.AttributeEncoder)) ([]byte, error) {
	ae := netlink.NewAttributeEncoder()
	ae.Nested(unix.ETHTOOL_A_RINGS_HEADER, func(h *netlink.AttributeEncoder) error {
		h.Uint32(unix.ETHTOOL_A_HEADER_DEV_INDEX, uint32(l.Index))
		if omitReply {
			h.Uint32(unix.ETHTOOL_A_HEADER_FLAGS, unix.ETHTOOL_FLAG_OMIT_REPLY)
		}
		return nil
	})
	if fill != nil {
		fill(ae)
	}
	return ae.Encode()
}

// one is the single message of an answer.
func one(msgs []genetlink.Message, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	if len(msgs) != 1 {
		return nil, fmt.Errorf("netlink: %d answers instead of one", len(msgs))
	}
	return msgs[0].Data, nil
}

// decode visits the attributes of a message.
func decode(b []byte, visit func(*netlink.AttributeDecoder)) error {
	ad, err := netlink.NewAttributeDecoder(b)
	if err != nil {
		return err
	}
	for ad.Next() {
		visit(ad)
	}
	return ad.Err()
}
