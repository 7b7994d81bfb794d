package client

import (
	"context"
	"errors"
	"fmt"
	"math"
	"syscall"

	"hbmfs/fs/uapi"
)

// Info says what a mount is.
type Info struct {
	ABIVersion uint32
	ExtentSize int64 // bytes
	// Checksums: payload is checked on arrival.
	Checksums bool
	// Strict: files with an open writer are refused.
	Strict bool
	// RequireDirect: paths through host memory are refused.
	RequireDirect bool
	Devices       []Device
	Transports    []Transport
}

// Device is a device whose memory a fetch can bring bytes to.
type Device struct {
	ID   uint32
	Name string
	Pool int64 // bytes of device memory for each user
	CPU  bool  // the CPU can address its memory
}

// Transport is a way to a target, and whether the mount can go it.
type Transport struct {
	Name      string
	Path      uapi.Path
	Usable    bool
	Chosen    bool
	Encrypted bool
	Reason    string // if not usable: the probe that refused it, and why
}

func readInfo(f openFile) (Info, error) {
	buf := make([]byte, uapi.InfoSize)
	c := newCall(uapi.IocInfo, buf)
	err := answered(context.Background(), f, c, func() { uapi.EncodeInfo(buf, &uapi.Info{Size: uint32(uapi.InfoSize)}) })
	switch errno, _ := errors.AsType[syscall.Errno](err); errno {
	case syscall.ENOTTY, syscall.EINVAL, syscall.ENOSYS, syscall.EOPNOTSUPP: // no mount at all
		return Info{}, fmt.Errorf("%w: INFO is answered by %q", ErrNotHBMFS, errno)
	}
	if err != nil {
		return Info{}, err
	}
	return decodeInfo(buf)
}

func decodeInfo(buf []byte) (Info, error) {
	raw, err := uapi.DecodeInfoReply(buf)
	if err != nil {
		return Info{}, fmt.Errorf("%w: INFO: %w", ErrProtocol, err)
	}
	if raw.ExtentSize > math.MaxInt64 {
		return Info{}, fmt.Errorf("%w: INFO: extents of %d bytes", ErrProtocol, raw.ExtentSize)
	}
	info := Info{
		ABIVersion:    raw.ABIVersion,
		ExtentSize:    int64(raw.ExtentSize),
		Checksums:     raw.Features&uapi.FeatureChecksums != 0,
		Strict:        raw.Features&uapi.FeatureStrict != 0,
		RequireDirect: raw.Features&uapi.FeatureRequireDirect != 0,
	}
	for _, d := range raw.Devices[:raw.DeviceCount] {
		info.Devices = append(info.Devices, decodeDevice(d))
	}
	for _, t := range raw.Transports[:raw.TransportCount] {
		info.Transports = append(info.Transports, decodeTransport(t))
	}
	return info, nil
}

func decodeDevice(d uapi.Device) Device {
	return Device{
		ID:   d.ID,
		Name: uapi.CString(d.Name[:]),
		Pool: int64(min(d.Pool, math.MaxInt64)),
		CPU:  d.Flags&uapi.DeviceCPU != 0,
	}
}

func decodeTransport(t uapi.Transport) Transport {
	return Transport{
		Name:      uapi.CString(t.Name[:]),
		Path:      uapi.Path(min(t.Path, math.MaxUint8)),
		Usable:    t.Flags&uapi.TransportUsable != 0,
		Chosen:    t.Flags&uapi.TransportChosen != 0,
		Encrypted: t.Flags&uapi.TransportEncrypted != 0,
		Reason:    uapi.CString(t.Reason[:]),
	}
}
