package nic

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"structs"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ifreq is struct ifreq of linux/if.h with a pointer as its data.
type ifreq struct {
	_    structs.HostLayout
	name [unix.IFNAMSIZ]byte
	data unsafe.Pointer
	_    [24 - unsafe.Sizeof(uintptr(0))]byte
}

// ifindexreq is struct ifreq of linux/if.h with an index as its data.
type ifindexreq struct {
	_     structs.HostLayout
	name  [unix.IFNAMSIZ]byte
	index int32
	_     [20]byte
}

// nameOf is the interface's name now: ioctls go by it, and it may be changed while
// the interface is up.
func nameOf(fd int, l link) (string, error) {
	req := ifindexreq{index: int32(l.Index)}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCGIFNAME, uintptr(unsafe.Pointer(&req)))
	if errno != 0 {
		return "", os.NewSyscallError("ioctl SIOCGIFNAME", errno)
	}
	return unix.ByteSliceToString(req.name[:]), nil
}

// ethtool has the kernel do the SIOCETHTOOL command at arg.
func ethtool(fd int, l link, arg unsafe.Pointer) error {
	name, err := nameOf(fd, l)
	if err != nil {
		return err
	}
	req := ifreq{data: arg}
	copy(req.name[:unix.IFNAMSIZ-1], name)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&req)))
	if errno != 0 {
		return os.NewSyscallError("ioctl SIOCETHTOOL", errno)
	}
	return nil
}

// classify does a command of struct ethtool_rxnfc, and gives the rule locations
// that it answers with.
func classify(fd int, l link, cmd *rxnfc, locations int) ([]uint32, error) {
	buf := make([]uint64, (ruleLocs+4*locations+4+7)/8)
	c := (*rxnfc)(unsafe.Pointer(&buf[0]))
	*c = *cmd
	if err := ethtool(fd, l, unsafe.Pointer(c)); err != nil {
		return nil, err
	}
	*cmd = *c
	locs := unsafe.Slice((*uint32)(unsafe.Add(unsafe.Pointer(c), ruleLocs)), locations)
	return locs[:min(locations, int(c.RuleCount))], nil
}

// hashTable does a command of struct ethtool_rxfh with the table after it.
func hashTable(fd int, l link, cmd *rxfh, table []uint32) error {
	const words = int(unsafe.Sizeof(rxfh{}) / 4)
	buf := make([]uint32, words+len(table))
	c := (*rxfh)(unsafe.Pointer(&buf[0]))
	*c = *cmd
	copy(buf[words:], table)
	if err := ethtool(fd, l, unsafe.Pointer(c)); err != nil {
		return err
	}
	*cmd = *c
	copy(table, buf[words:])
	return nil
}

func (s *sockets) driver(l link) (string, error) {
	name, err := nameOf(s.fd, l)
	if err != nil {
		return "", fmt.Errorf("driver of %s: %w", l.Name, err)
	}
	info, err := unix.IoctlGetEthtoolDrvinfo(s.fd, name)
	if err != nil {
		return "", fmt.Errorf("driver of %s: %w", l.Name, err)
	}
	return unix.ByteSliceToString(info.Driver[:]), nil
}

func (s *sockets) rss(l link) ([]uint32, error) {
	c := rxfh{Cmd: unix.ETHTOOL_GRSSH}
	if err := hashTable(s.fd, l, &c, nil); err != nil {
		return nil, needRSS.failed(err)
	}
	if c.IndirSize == 0 {
		return nil, needRSS.failed(unix.EOPNOTSUPP)
	}
	table := make([]uint32, min(c.IndirSize, maxTable))
	c = rxfh{Cmd: unix.ETHTOOL_GRSSH, IndirSize: uint32(len(table))}
	return table, needRSS.failed(hashTable(s.fd, l, &c, table))
}

// maxTable bounds what is believed of the size of an indirection table.
const maxTable = 1 << 16

func (s *sockets) setRSS(l link, table []uint32) error {
	c := rxfh{Cmd: unix.ETHTOOL_SRSSH, IndirSize: uint32(len(table)), HFunc: hashNoChange, InputXfrm: xfrmNoChange}
	return needRSS.failed(hashTable(s.fd, l, &c, table))
}

// ruleTable gives the locations of all rules, whether the driver chooses the
// location of a new one, and how many there may be.
func (s *sockets) ruleTable(l link) (locs []uint32, special bool, size uint64, err error) {
	for {
		count := rxnfc{Cmd: unix.ETHTOOL_GRXCLSRLCNT}
		if _, err := classify(s.fd, l, &count, 0); err != nil {
			return nil, false, 0, needNTuple.failed(err)
		}
		all := rxnfc{Cmd: unix.ETHTOOL_GRXCLSRLALL, RuleCount: count.RuleCount}
		locs, err := classify(s.fd, l, &all, int(count.RuleCount))
		if errors.Is(err, unix.EMSGSIZE) {
			continue // one came meanwhile
		}
		return locs, count.Data&locationSpecial != 0, all.Data &^ locationSpecial, needNTuple.failed(err)
	}
}

func (s *sockets) rules(l link) ([]rule, error) {
	locs, _, _, err := s.ruleTable(l)
	if err != nil {
		return nil, err
	}
	var rules []rule
	for _, loc := range locs {
		c := rxnfc{Cmd: unix.ETHTOOL_GRXCLSRULE, Spec: flowSpec{Location: loc}}
		switch _, err := classify(s.fd, l, &c, 0); {
		case errors.Is(err, unix.ENOENT): // went meanwhile
		case err != nil:
			return nil, fmt.Errorf("flow rule %d: %w", loc, err)
		default:
			rules = append(rules, c.Spec.rule())
		}
	}
	return rules, nil
}

func (s *sockets) insertRule(l link, f flow) (uint32, error) {
	locs, special, size, err := s.ruleTable(l)
	if err != nil {
		return 0, err
	}
	loc := uint32(locationAny)
	if !special {
		if loc, err = freeLocation(locs, size); err != nil {
			return 0, err
		}
	}
	c := rxnfc{Cmd: unix.ETHTOOL_SRXCLSRLINS, Spec: f.spec(loc)}
	_, err = classify(s.fd, l, &c, 0)
	if errors.Is(err, unix.ENOSPC) {
		return 0, fmt.Errorf("%w: all flow rules of the NIC are taken: %w", ErrBusy, err)
	}
	return c.Spec.Location, needNTuple.failed(err)
}

// freeLocation is the first that no rule has: of two rules that match, the NIC
// takes the one before.
func freeLocation(used []uint32, size uint64) (uint32, error) {
	for loc := range uint32(min(size, locationSpecial)) {
		if !slices.Contains(used, loc) {
			return loc, nil
		}
	}
	return 0, fmt.Errorf("%w: all %d flow rules of the NIC are taken", ErrBusy, size)
}

func (s *sockets) deleteRule(l link, location uint32) error {
	c := rxnfc{Cmd: unix.ETHTOOL_SRXCLSRLDEL, Spec: flowSpec{Location: location}}
	_, err := classify(s.fd, l, &c, 0)
	return err
}
