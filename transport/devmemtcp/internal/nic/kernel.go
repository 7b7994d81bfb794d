package nic

import (
	"io"
	"net/netip"
)

// kernel is what NICs are read and changed through: [sockets], or in tests a
// fake that fails when it is told to.
type kernel interface {
	linkNamed(name string) (link, error) // ErrNoNIC
	linkAt(index int) (link, error)      // ErrNoNIC
	links() ([]link, error)
	driver(link) (string, error)

	queues(link) ([]queue, error) // receive queues in order; none while the link is down
	rings(link) (rings, error)
	setRings(link, ringChange) error
	ntuple(link) (feature, error)
	setNTuple(link, bool) error

	rss(link) ([]uint32, error)
	setRSS(link, []uint32) error // nil: the kernel's default
	contexts(link) ([]rssContext, error)

	rules(link) ([]rule, error)
	insertRule(link, flow) (location uint32, err error)
	deleteRule(link, uint32) error // ENOENT: there is none

	bind(l link, dmabuf int, queues []int) (id uint32, held io.Closer, err error)
	Close() error
}

// link is a network interface.
type link struct {
	Index  int
	Name   string
	MTU    int
	Up     bool
	Parent string // the device that does its DMA, as "bus/name"; "" has none
}

// queue is a receive queue, and whose memory it receives into.
type queue struct {
	ID     int
	DMABuf uint32 // id of the binding; 0 is none
	Other  string // another owner than a dma-buf: "io_uring" or "AF_XDP"
}

// rings are the ring settings that matter here.
type rings struct {
	RX        int // descriptors of a receive queue
	Split     splitMode
	HasThresh bool
	Thresh    uint32 // bytes; packets up to it are not split
}

// ringChange is a change of ring settings; nil leaves one as it is.
type ringChange struct {
	Split  *splitMode
	Thresh *uint32
}

// splitMode is enum ETHTOOL_TCP_DATA_SPLIT_* of linux/ethtool_netlink.h (Linux 6.12).
type splitMode uint8

const (
	splitUnknown splitMode = iota
	splitOff
	splitOn
)

func (m splitMode) String() string {
	switch m {
	case splitOff:
		return "off"
	case splitOn:
		return "on"
	default:
		return "unknown"
	}
}

// feature is the state of a device feature.
type feature struct {
	On         bool
	Changeable bool
}

// rssContext is an indirection table beside the interface's own.
type rssContext struct {
	ID    uint32
	Table []uint32
}

// flow is a TCP connection as its packets arrive, and the queue for them.
type flow struct {
	Local, Remote netip.AddrPort
	Queue         int
}

// rule is a flow rule that the NIC has; what it matches is known only of
// rules such as this package makes.
type rule struct {
	Location uint32
	Queue    int // -1: drops, or wakes the host
	Flow     flow
	Exact    bool // Flow says all that the rule matches
}
