// Package uapi is the Go side of hbmfs.h: what a program and the daemon of a
// mount say to each other, by ioctl on a file of the mount and over its socket
// .hbmfs/ctl. It owns the layout of the structures, the numbers of the commands,
// the words for how bytes came and why, and the check of every byte that comes
// from outside. hbmfs.h is the contract,
// and the tests compare the two with a C compiler.
//
// It makes no system call and imports nothing of the project, so that a client
// of a mount needs nothing else.
//
// Locking: none. All functions work on what they are given, do not keep it, and
// may be called concurrently.
package uapi

import "structs"

// ABIVersion is what INFO answers.
const ABIVersion = 1

// Flags of the structures.
const (
	DeviceCPU = 0x1 // the CPU can address the device's memory

	TransportUsable    = 0x1
	TransportChosen    = 0x2
	TransportEncrypted = 0x4

	FeatureChecksums     = 0x1 // payload is checked on arrival
	FeatureStrict        = 0x2 // unsettled answers are refused
	FeatureRequireDirect = 0x4 // fallbacks are refused

	FetchUnsettled  = 0x1  // out: the file may have changed unnoticed
	FetchLoan       = 0x2  // in: lend, if possible; out: it is a loan
	FetchRandom     = 0x4  // in: keep the range as it is
	FetchSequential = 0x8  // in: keep the whole extents that it touches
	FetchWait       = 0x10 // in: wait for room, up to WaitMS
	SegmentHit      = 0x1  // was in device memory already
)

// WaitMSMax is the most that [Fetch.WaitMS] may be: an hour.
const WaitMSMax = 3600000

// Entries that an [Info] has room for.
const (
	MaxDevices    = 16
	MaxTransports = 8
)

// Device is a device of the mount.
type Device struct {
	_     structs.HostLayout
	ID    uint32 // what FETCH names
	Flags uint32
	Pool  uint64 // bytes of device memory for each user
	Name  [16]byte
}

// Transport is a way to a target, and whether this mount can go it.
type Transport struct {
	_      structs.HostLayout
	Path   uint32
	Flags  uint32
	Name   [16]byte
	Reason [232]byte // if not usable: the probe that refused it, and why
}

// Info says what a mount is.
type Info struct {
	_              structs.HostLayout
	Size           uint32
	Flags          uint32 // in: 0
	ABIVersion     uint32
	DeviceCount    uint32
	Features       uint64
	ExtentSize     uint64 // bytes
	TransportCount uint32
	Zero           uint32
	Devices        [MaxDevices]Device
	Transports     [MaxTransports]Transport
}

// Fetch asks for a range of a file in device memory. Segments follow it.
type Fetch struct {
	_            structs.HostLayout
	Size         uint32
	Flags        uint32 // in: FetchLoan, FetchWait, and FetchRandom or FetchSequential
	Offset       uint64
	Length       uint64
	Release      uint64 // handle, or 0
	Device       uint32
	SegmentCount uint32 // in: 0
	Handle       uint64 // out, as are all that follow, up to Why
	Fetched      uint64 // bytes that the segments cover
	Cursor       uint64 // where to go on, 0 once the range is done
	FileSize     uint64
	Path         uint32 // the least direct of the segments'
	Why          uint32
	WaitMS       uint32 // with FetchWait, at most WaitMSMax; else 0
	Zero         uint32
}

// Segment is a part of a region that holds a part of a file.
type Segment struct {
	_            structs.HostLayout
	RegionOffset uint64
	FileOffset   uint64
	Length       uint64
	Region       uint32
	Path         uint16
	Flags        uint16
}

// Release gives up a handle of an open file, or all of them.
type Release struct {
	_        structs.HostLayout
	Size     uint32
	Flags    uint32 // in: 0
	Handle   uint64 // 0: all
	Released uint64 // out: how many
}

// Digest asks the target for the SHA-256 of a range of its source.
type Digest struct {
	_      structs.HostLayout
	Size   uint32
	Flags  uint32 // in: 0
	Offset uint64
	Length uint64
	SHA256 [32]byte // out
}
