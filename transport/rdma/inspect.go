package rdma

import (
	"errors"
	"fmt"

	"hbmfs/transport"
	"hbmfs/transport/rdma/internal/verbs"
)

// Device is what one RDMA device of this host can do, as [Inspect] found out by
// trying.
type Device struct {
	Name      string
	Active    bool   // its port is up
	LinkLayer string // "Ethernet" for RoCE
	MTU       int    // active, in bytes
	MaxMTU    int    // bytes
	// MemoryWindows says that it has those of type 2.
	MemoryWindows bool
	// DMABuf and Mapping say why memory can't be registered by its dma-buf and
	// by its CPU mapping; nil means that it was.
	DMABuf, Mapping error
}

// errNone is about the memory, not the device.
var errNone = errors.New("the memory has none")

// Inspect tries every RDMA device of this host with mem. The error wraps
// [transport.ErrUnavailable] where there is none, or no library to use it by.
func Inspect(mem transport.Memory) ([]Device, error) {
	names, err := verbs.Devices()
	if err == nil && len(names) == 0 {
		err = errors.New("no RDMA device on this host")
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", transport.ErrUnavailable, err)
	}
	devices := make([]Device, 0, len(names))
	for _, name := range names {
		d, err := inspect(name, mem)
		if err != nil {
			return devices, fmt.Errorf("%w: %s: %w", transport.ErrUnavailable, name, err)
		}
		devices = append(devices, d)
	}
	return devices, nil
}

func inspect(name string, mem transport.Memory) (Device, error) {
	ctx, err := verbs.Open(name)
	if err != nil {
		return Device{}, err
	}
	defer ctx.Close()
	port, err := ctx.Port(1)
	if err != nil {
		return Device{}, err
	}
	pd, err := ctx.AllocPD()
	if err != nil {
		return Device{}, err
	}
	defer pd.Close()
	return Device{
		Name: name, Active: port.Active, LinkLayer: port.LinkLayer, MTU: port.ActiveMTU, MaxMTU: port.MaxMTU,
		MemoryWindows: ctx.Device().MemoryWindow2,
		DMABuf:        tryDMABuf(pd, mem),
		Mapping:       tryMapping(pd, mem),
	}, nil
}

func tryDMABuf(pd *verbs.PD, mem transport.Memory) error {
	fd, off, ok := mem.DMABuf()
	if !ok {
		return errNone
	}
	mr, err := pd.RegisterDMABuf(fd, off, mem.Size(), 0, verbs.LocalWrite|verbs.RemoteWrite)
	if err != nil {
		return err
	}
	return mr.Close()
}

func tryMapping(pd *verbs.PD, mem transport.Memory) error {
	if mem.Bytes() == nil {
		return errNone
	}
	mr, err := pd.Register(mem.Bytes(), verbs.LocalWrite|verbs.RemoteWrite)
	if err != nil {
		return err
	}
	return mr.Close()
}
