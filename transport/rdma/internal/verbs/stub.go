//go:build !(linux && cgo)

package verbs

import (
	"errors"
	"fmt"
	"net/netip"
	"time"
)

var (
	errNotBuilt = errors.New("built without RDMA; to have it, install the packages gcc, libc6-dev, libibverbs-dev and librdmacm-dev, and run make build")
	errNoCgo    = fmt.Errorf("%w: %w", ErrUnsupported, errNotBuilt)
)

// Built says why this build has no RDMA, and the remedy.
func Built() error { return errNotBuilt }

// Load says that this build has no RDMA: an error wrapping [ErrUnsupported], as
// everything here does that can fail.
func Load() error { return errNoCgo }

// Devices fails.
func Devices() ([]string, error) { return nil, errNoCgo }

// Context is not made by this build; nor are the other types of this file.
type Context struct{}

// Open fails.
func Open(string) (*Context, error) { return nil, errNoCgo }

func (*Context) Name() string                 { return "" }
func (*Context) Port(uint8) (PortAttr, error) { return PortAttr{}, errNoCgo }
func (*Context) AllocPD() (*PD, error)        { return nil, errNoCgo }
func (*Context) NewCQ(int) (*CQ, error)       { return nil, errNoCgo }
func (*Context) Close() error                 { return nil }

// PD is a protection domain.
type PD struct{}

func (*PD) Register([]byte, Access) (*MR, error) { return nil, errNoCgo }

func (*PD) RegisterDMABuf(int, int64, int64, uint64, Access) (*MR, error) { return nil, errNoCgo }

func (*PD) NewQP(_, _ *CQ, _ QPConfig) (*QP, error) { return nil, errNoCgo }
func (*PD) Close() error                            { return nil }

// MR is a memory region.
type MR struct {
	Addr       uint64
	Len        int64
	LKey, RKey uint32
}

func (*MR) Close() error { return nil }

// CQ is a completion queue.
type CQ struct{}

func (*CQ) Poll([]Completion) (int, error) { return 0, errNoCgo }
func (*CQ) Wait() error                    { return errNoCgo }
func (*CQ) Interrupt()                     {}
func (*CQ) Close() error                   { return nil }

// QP is a queue pair.
type QP struct{}

func (*QP) Number() uint32        { return 0 }
func (*QP) Post([]Work) error     { return errNoCgo }
func (*QP) PostRecv([]Recv) error { return errNoCgo }
func (*QP) Fail() error           { return errNoCgo }
func (*QP) Close() error          { return nil }

// Events is an event channel of the connection manager.
type Events struct{}

// NewEvents fails.
func NewEvents() (*Events, error) { return nil, errNoCgo }

func (*Events) Next() (Event, error) { return Event{}, errNoCgo }
func (*Events) NewID() (*ID, error)  { return nil, errNoCgo }
func (*Events) Interrupt()           {}
func (*Events) Resume()              {}
func (*Events) Close() error         { return nil }

// ID is one end of a connection, or a listener.
type ID struct{}

func (*ID) ResolveAddr(netip.AddrPort, time.Duration) error { return errNoCgo }
func (*ID) ResolveRoute(time.Duration) error                { return errNoCgo }
func (*ID) Device() (string, uint8)                         { return "", 0 }
func (*ID) Bind(netip.AddrPort) error                       { return errNoCgo }
func (*ID) Listen(int) error                                { return errNoCgo }
func (*ID) Local() netip.AddrPort                           { return netip.AddrPort{} }
func (*ID) Peer() netip.AddrPort                            { return netip.AddrPort{} }
func (*ID) Move(*QP, QPState, int) error                    { return errNoCgo }
func (*ID) Connect(uint32, []byte) error                    { return errNoCgo }
func (*ID) Accept(uint32, []byte) error                     { return errNoCgo }
func (*ID) Reject([]byte) error                             { return errNoCgo }
func (*ID) Establish() error                                { return errNoCgo }
func (*ID) Disconnect() error                               { return errNoCgo }
func (*ID) Close() error                                    { return nil }
