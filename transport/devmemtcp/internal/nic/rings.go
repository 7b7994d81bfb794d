package nic

import (
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

func (s *sockets) rings(l link) (rings, error) {
	b, err := one(s.ethtoolDo(unix.ETHTOOL_MSG_RINGS_GET, 0, l, nil))
	if err != nil {
		return rings{}, needSplit.failed(err)
	}
	return parseRings(b)
}

func (s *sockets) setRings(l link, c ringChange) error {
	_, err := s.ethtoolDo(unix.ETHTOOL_MSG_RINGS_SET, netlink.Acknowledge, l, c.encode)
	return needSplit.failed(err)
}

func (c ringChange) encode(ae *netlink.AttributeEncoder) {
	if c.Split != nil {
		ae.Uint8(unix.ETHTOOL_A_RINGS_TCP_DATA_SPLIT, uint8(*c.Split))
	}
	if c.Thresh != nil {
		ae.Uint32(unix.ETHTOOL_A_RINGS_HDS_THRESH, *c.Thresh)
	}
}

// parseRings reads the answer to RINGS_GET. Of a split that the driver does not
// speak of there is no attribute.
func parseRings(b []byte) (r rings, err error) {
	err = decode(b, func(ad *netlink.AttributeDecoder) {
		switch ad.Type() {
		case unix.ETHTOOL_A_RINGS_RX:
			r.RX = int(ad.Uint32())
		case unix.ETHTOOL_A_RINGS_TCP_DATA_SPLIT:
			r.Split = splitMode(ad.Uint8())
		case unix.ETHTOOL_A_RINGS_HDS_THRESH:
			r.HasThresh, r.Thresh = true, ad.Uint32()
		}
	})
	return r, err
}
