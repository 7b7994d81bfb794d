package nic

import (
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

func (s *sockets) linkNamed(name string) (link, error) {
	if name == "" || len(name) >= unix.IFNAMSIZ {
		return link{}, fmt.Errorf("%w: %q", ErrNoNIC, name)
	}
	return s.link(0, name)
}

func (s *sockets) linkAt(index int) (link, error) {
	if index <= 0 {
		return link{}, fmt.Errorf("%w: index %d", ErrNoNIC, index)
	}
	return s.link(index, "")
}

func (s *sockets) link(index int, name string) (link, error) {
	req, err := linkRequest(index, name)
	if err != nil {
		return link{}, err
	}
	all, err := s.getLinks(netlink.Request, req)
	if errors.Is(err, unix.ENODEV) {
		return link{}, fmt.Errorf("%w: %s", ErrNoNIC, nameOrIndex(index, name))
	}
	if err == nil && len(all) != 1 {
		err = fmt.Errorf("%d answers instead of one", len(all))
	}
	if err != nil {
		return link{}, fmt.Errorf("interface %s: %w", nameOrIndex(index, name), err)
	}
	return all[0], nil
}

func nameOrIndex(index int, name string) string {
	if name != "" {
		return name
	}
	return fmt.Sprintf("index %d", index)
}

func (s *sockets) links() ([]link, error) {
	req, err := linkRequest(0, "")
	if err != nil {
		return nil, err
	}
	return s.getLinks(netlink.Request|netlink.Dump, req)
}

func (s *sockets) getLinks(flags netlink.HeaderFlags, req []byte) ([]link, error) {
	msgs, err := s.route.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.RTM_GETLINK, Flags: flags}, Data: req,
	})
	if err != nil {
		return nil, err
	}
	links := make([]link, len(msgs))
	for i, m := range msgs {
		if links[i], err = parseLink(m.Data); err != nil {
			return nil, fmt.Errorf("netlink: interface: %w", err)
		}
	}
	return links, nil
}

// ifinfomsg is the size of struct ifinfomsg of linux/rtnetlink.h (Linux 6.12),
// whose ifi_index lies at 4 and whose ifi_flags lie at 8.
const ifinfomsg = unix.SizeofIfInfomsg

func linkRequest(index int, name string) ([]byte, error) {
	ae := netlink.NewAttributeEncoder()
	if name != "" {
		ae.String(unix.IFLA_IFNAME, name)
	}
	attrs, err := ae.Encode()
	b := make([]byte, ifinfomsg, ifinfomsg+len(attrs))
	ae.ByteOrder.PutUint32(b[4:], uint32(index))
	return append(b, attrs...), err
}

func parseLink(b []byte) (link, error) {
	if len(b) < ifinfomsg {
		return link{}, fmt.Errorf("%d bytes, want %d or more", len(b), ifinfomsg)
	}
	order := netlink.NewAttributeEncoder().ByteOrder
	l := link{Index: int(int32(order.Uint32(b[4:]))), Up: order.Uint32(b[8:])&unix.IFF_UP != 0}
	var dev, bus string
	err := decode(b[ifinfomsg:], func(ad *netlink.AttributeDecoder) {
		switch ad.Type() {
		case unix.IFLA_IFNAME:
			l.Name = ad.String()
		case unix.IFLA_MTU:
			l.MTU = int(ad.Uint32())
		case unix.IFLA_PARENT_DEV_NAME:
			dev = ad.String()
		case unix.IFLA_PARENT_DEV_BUS_NAME:
			bus = ad.String()
		}
	})
	if dev != "" {
		l.Parent = bus + "/" + dev
	}
	return l, err
}
