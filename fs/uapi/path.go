package uapi

import (
	"encoding/json"
	"fmt"
)

// Path says how bytes came into a memory: HBMFS_PATH_* of hbmfs.h. Higher is more
// direct.
type Path uint8

const (
	// PathNone: no bytes came.
	PathNone Path = iota
	// PathHost: this host's CPU copied them out of its own page cache.
	PathHost
	// PathStaged: they came over a socket, through this host's memory.
	PathStaged
	// PathDevmemTCP: the NIC put them into device memory, which the device
	// gathered into place.
	PathDevmemTCP
	// PathRDMA: the NIC put them into place in device memory.
	PathRDMA
)

var pathNames = [...]string{"none", "host", "staged", "devmem-tcp", "rdma"}

func (p Path) String() string {
	if int(p) < len(pathNames) {
		return pathNames[p]
	}
	return fmt.Sprintf("path(%d)", uint8(p))
}

// Direct reports whether no byte passed through host memory.
func (p Path) Direct() bool { return p >= PathDevmemTCP }

// Reason says why bytes took their path and not a better one: HBMFS_WHY_* of
// hbmfs.h.
type Reason uint16

const (
	// WhyBest: there is no better path.
	WhyBest Reason = iota
	// WhyRequested: the mount was told to use this transport.
	WhyRequested
	// WhyNoDirect: no direct transport is usable here; INFO lists each with
	// the probe that refused it.
	WhyNoDirect
	// WhyLocalSource: the source is in the daemon itself; nothing crosses a network.
	WhyLocalSource
	// WhyPlainRead: read() and mmap() ask for host copies.
	WhyPlainRead
	// WhyNotRegistered: the RDMA device can register the memory neither as a
	// dma-buf nor by its CPU mapping.
	WhyNotRegistered
	// WhyNotSteered: the NIC did not put all of the payload into device memory.
	WhyNotSteered
	// WhyTargetAway: the target does not answer; the bytes were in device memory,
	// and may be old.
	WhyTargetAway
)

var reasonTexts = [...]string{
	"best path",
	"asked for by --transport",
	"no direct transport usable",
	"source is local to the mount",
	"plain read",
	"memory can't be registered with the RDMA device",
	"NIC did not put all of it into device memory",
	"target does not answer: in device memory, may be old",
}

func (r Reason) String() string {
	if int(r) < len(reasonTexts) {
		return reasonTexts[r]
	}
	return fmt.Sprintf("reason(%d)", uint16(r))
}

// NumPaths is the number of [Path] values.
const NumPaths = len(pathNames)

// ByPath counts something by [Path]. In JSON it is an object with the paths'
// names.
type ByPath [NumPaths]int64

// MarshalJSON leaves out [PathNone].
func (b ByPath) MarshalJSON() ([]byte, error) {
	named := make(map[string]int64, NumPaths)
	for p := PathHost; int(p) < NumPaths; p++ {
		named[p.String()] = b[p]
	}
	return json.Marshal(named)
}

// UnmarshalJSON ignores names that it does not know.
func (b *ByPath) UnmarshalJSON(text []byte) error {
	var named map[string]int64
	if err := json.Unmarshal(text, &named); err != nil {
		return err
	}
	for p := range b {
		b[p] = named[Path(p).String()]
	}
	return nil
}
