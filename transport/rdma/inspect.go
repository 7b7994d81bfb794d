package rdma

import (
	"errors"

	"hbmfs/transport"
	"hbmfs/transport/rdma/internal/verbs"
)

// report is what one RDMA device of this host can do, as was found out by trying.
type report struct {
	active      bool   // its port is up
	linkLayer   string // "Ethernet" for RoCE
	mtu, maxMTU int    // bytes; the first is the active one
	// dmabuf and mapping say why memory can't be registered by its dma-buf and
	// by its CPU mapping; nil means that it was.
	dmabuf, mapping error
}

// errNone is about the memory, not the device.
var errNone = errors.New("the memory has none")

// inspect tries a device with mem.
func inspect(name string, mem transport.Memory) (report, error) {
	ctx, err := verbs.Open(name)
	if err != nil {
		return report{}, err
	}
	defer ctx.Close()
	port, err := ctx.Port(1)
	if err != nil {
		return report{}, err
	}
	pd, err := ctx.AllocPD()
	if err != nil {
		return report{}, err
	}
	defer pd.Close()
	return report{
		active: port.Active, linkLayer: port.LinkLayer, mtu: port.ActiveMTU, maxMTU: port.MaxMTU,
		dmabuf:  tryDMABuf(pd, mem),
		mapping: tryMapping(pd, mem),
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
