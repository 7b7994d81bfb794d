package nic

import (
	"encoding/binary"
	"net/netip"
	"structs"
)

// Of linux/netdev.h, Linux 6.12; the last two of 6.15 and 6.16.
const (
	netdevFamily  = "netdev"
	netdevVersion = 1

	netdevCmdQueueGet = 10
	netdevCmdBindRX   = 13

	netdevQueueTypeRX = 0

	netdevQueueID      = 1
	netdevQueueIfindex = 2
	netdevQueueType    = 3
	netdevQueueDMABuf  = 5
	netdevQueueIOUring = 6
	netdevQueueXSK     = 7

	netdevDMABufIfindex = 1
	netdevDMABufQueues  = 2
	netdevDMABufFD      = 3
	netdevDMABufID      = 4
)

// Of linux/ethtool_netlink.h, Linux 6.12.
const (
	rssHeader    = 1
	rssContextID = 2
	rssIndir     = 4
)

// Of linux/ethtool.h, Linux 6.12.
const (
	tcpV4Flow = 0x01
	tcpV6Flow = 0x05

	ringCookieQueue = 0xffffffff // ETHTOOL_RX_FLOW_SPEC_RING

	locationAny     = 0xffffffff // RX_CLS_LOC_ANY
	locationSpecial = 0x80000000 // RX_CLS_LOC_SPECIAL

	hashNoChange = 0    // ETH_RSS_HASH_NO_CHANGE
	xfrmNoChange = 0xff // RXH_XFRM_NO_CHANGE
)

// rxnfc is struct ethtool_rxnfc of linux/ethtool.h (Linux 6.12).
type rxnfc struct {
	_         structs.HostLayout
	Cmd       uint32
	FlowType  uint32
	Data      uint64
	Spec      flowSpec
	RuleCount uint32
	_         uint32 // rule_locs begins here
}

// ruleLocs is where rule_locs lies in struct ethtool_rxnfc: in its padding.
const ruleLocs = 188

// flowSpec is struct ethtool_rx_flow_spec of linux/ethtool.h (Linux 6.12).
type flowSpec struct {
	_          structs.HostLayout
	FlowType   uint32
	Fields     [52]byte // union ethtool_flow_union
	Ext        [20]byte // struct ethtool_flow_ext
	Mask       [52]byte
	MaskExt    [20]byte
	_          [4]byte
	RingCookie uint64
	Location   uint32
	_          uint32
}

// rxfh is struct ethtool_rxfh of linux/ethtool.h (Linux 6.12), without the table
// that follows it.
type rxfh struct {
	_         structs.HostLayout
	Cmd       uint32
	Context   uint32
	IndirSize uint32
	KeySize   uint32
	HFunc     uint8
	InputXfrm uint8
	_         [2]uint8
	_         uint32
}

// fieldsV4 is struct ethtool_tcpip4_spec, fieldsV6 struct ethtool_tcpip6_spec,
// by the offsets of their members.
const (
	v4Src, v4Dst, v4SrcPort, v4DstPort, v4End = 0, 4, 8, 10, 12
	v6Src, v6Dst, v6SrcPort, v6DstPort, v6End = 0, 16, 32, 34, 36
)

// spec is the rule that matches exactly the flow's packets.
func (f flow) spec(location uint32) flowSpec {
	s := flowSpec{RingCookie: uint64(f.Queue), Location: location}
	end := v6End
	if f.Local.Addr().Is4() {
		s.FlowType, end = tcpV4Flow, v4End
		putTuple(&s.Fields, f, v4Src, v4Dst, v4SrcPort, v4DstPort)
	} else {
		s.FlowType = tcpV6Flow
		putTuple(&s.Fields, f, v6Src, v6Dst, v6SrcPort, v6DstPort)
	}
	for i := range end {
		s.Mask[i] = 0xff
	}
	return s
}

func putTuple(b *[52]byte, f flow, src, dst, srcPort, dstPort int) {
	copy(b[src:], f.Remote.Addr().AsSlice())
	copy(b[dst:], f.Local.Addr().AsSlice())
	binary.BigEndian.PutUint16(b[srcPort:], f.Remote.Port())
	binary.BigEndian.PutUint16(b[dstPort:], f.Local.Port())
}

// rule reads what the NIC says of a rule.
func (s *flowSpec) rule() rule {
	r := rule{Location: s.Location, Queue: -1}
	if s.RingCookie&^uint64(ringCookieQueue) == 0 {
		r.Queue = int(s.RingCookie)
	}
	switch s.FlowType {
	case tcpV4Flow:
		r.Exact = s.exact(v4End)
		r.Flow.Remote = addrPort(s.Fields[v4Src:v4Dst], s.Fields[v4SrcPort:])
		r.Flow.Local = addrPort(s.Fields[v4Dst:v4SrcPort], s.Fields[v4DstPort:])
	case tcpV6Flow:
		r.Exact = s.exact(v6End)
		r.Flow.Remote = addrPort(s.Fields[v6Src:v6Dst], s.Fields[v6SrcPort:])
		r.Flow.Local = addrPort(s.Fields[v6Dst:v6SrcPort], s.Fields[v6DstPort:])
	}
	r.Flow.Queue = r.Queue
	return r
}

// exact says whether the mask covers the tuple, which is the first bytes, and
// nothing else.
func (s *flowSpec) exact(tuple int) bool {
	for i, b := range s.Mask {
		if (b == 0xff) != (i < tuple) || i >= tuple && b != 0 {
			return false
		}
	}
	return true
}

func addrPort(addr, port []byte) netip.AddrPort {
	a, _ := netip.AddrFromSlice(addr)
	return netip.AddrPortFrom(a, binary.BigEndian.Uint16(port))
}
