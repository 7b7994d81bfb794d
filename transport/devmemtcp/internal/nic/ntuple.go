package nic

import (
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// ntupleName is the feature of n-tuple filters (netdev_features_strings, Linux 6.12).
const ntupleName = "rx-ntuple-filter"

func (s *sockets) ntuple(l link) (feature, error) {
	b, err := one(s.ethtoolDo(unix.ETHTOOL_MSG_FEATURES_GET, 0, l, nil))
	if err != nil {
		return feature{}, needNTuple.failed(err)
	}
	return parseNTuple(b)
}

func (s *sockets) setNTuple(l link, on bool) error {
	_, err := s.ethtoolDo(unix.ETHTOOL_MSG_FEATURES_SET, netlink.Acknowledge, l,
		func(ae *netlink.AttributeEncoder) { encodeNTuple(ae, on) })
	return needNTuple.failed(err)
}

func encodeNTuple(ae *netlink.AttributeEncoder, on bool) {
	ae.Nested(unix.ETHTOOL_A_FEATURES_WANTED, func(set *netlink.AttributeEncoder) error {
		set.Nested(unix.ETHTOOL_A_BITSET_BITS, func(bits *netlink.AttributeEncoder) error {
			bits.Nested(unix.ETHTOOL_A_BITSET_BITS_BIT, func(bit *netlink.AttributeEncoder) error {
				bit.String(unix.ETHTOOL_A_BITSET_BIT_NAME, ntupleName)
				bit.Flag(unix.ETHTOOL_A_BITSET_BIT_VALUE, on)
				return nil
			})
			return nil
		})
		return nil
	})
}

// parseNTuple reads the answer to FEATURES_GET: a list of all features that says
// which can be changed, and one of those that are on.
func parseNTuple(b []byte) (f feature, err error) {
	err = decode(b, func(ad *netlink.AttributeDecoder) {
		switch ad.Type() {
		case unix.ETHTOOL_A_FEATURES_HW:
			ad.Nested(func(set *netlink.AttributeDecoder) error {
				_, f.Changeable = findBit(set, ntupleName)
				return nil
			})
		case unix.ETHTOOL_A_FEATURES_ACTIVE:
			ad.Nested(func(set *netlink.AttributeDecoder) error {
				f.On, _ = findBit(set, ntupleName)
				return nil
			})
		}
	})
	return f, err
}

// findBit looks a bit up in a bitset: is it listed, and has it a value?
func findBit(set *netlink.AttributeDecoder, name string) (listed, valued bool) {
	for set.Next() {
		if set.Type() != unix.ETHTOOL_A_BITSET_BITS {
			continue
		}
		set.Nested(func(bits *netlink.AttributeDecoder) error {
			for bits.Next() {
				bits.Nested(func(bit *netlink.AttributeDecoder) error {
					if n, v := readBit(bit); n == name {
						listed, valued = true, v
					}
					return nil
				})
			}
			return nil
		})
	}
	return listed, valued
}

func readBit(bit *netlink.AttributeDecoder) (name string, value bool) {
	for bit.Next() {
		switch bit.Type() {
		case unix.ETHTOOL_A_BITSET_BIT_NAME:
			name = bit.String()
		case unix.ETHTOOL_A_BITSET_BIT_VALUE:
			value = bit.Flag()
		}
	}
	return name, value
}
