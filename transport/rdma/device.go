package rdma

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"hbmfs/transport"
	"hbmfs/transport/rdma/internal/hca"
	"hbmfs/transport/rdma/internal/verbs"
)

// device is what the connections of a link share on their RDMA device: it is
// open as long as one of them is, so that a device can be removed which nothing
// uses. The attached memories are registered with it when the first connection
// is up, and stay registered until the last has ended.
type device struct {
	link *link

	// change is held while the device or a registration is made or undone.
	change sync.Mutex
	open   *opened // nil while there is no connection

	mu      sync.RWMutex // guards what follows; held for look-ups only
	regions map[transport.Memory]region
	bytes   int64 // registered
	how     string

	hits, misses, evictions atomic.Int64
}

// opened is the open device of a link.
type opened struct {
	hca.Device
	refs   int  // connections, being set up ones included; guarded by device.change
	ready  bool // bounce, reads and regions are registered; guarded by device.change
	bounce *verbs.MR
	reads  *verbs.MR
}

// region is an attached memory: mr is nil while it isn't registered.
type region struct{ mr *verbs.MR }

// acquire opens the device called name, or shares it.
func (d *device) acquire(name string) (*opened, error) {
	d.change.Lock()
	defer d.change.Unlock()
	if o := d.open; o != nil {
		if o.Removed.Err() != nil || o.Name != name {
			return nil, fmt.Errorf("%s: %w", o.Name, hca.ErrRemoved)
		}
		o.refs++
		return o, nil
	}
	o, err := hca.Open(name)
	if err != nil {
		return nil, err
	}
	d.open = &opened{Device: o, refs: 1}
	return d.open, nil
}

// prepare registers what requests need, once.
func (d *device) prepare(o *opened) error {
	d.change.Lock()
	defer d.change.Unlock()
	if o.ready {
		return nil
	}
	bounce, err := o.PD.Register(d.link.bounce.mem, remoteWrite)
	if err != nil {
		return fmt.Errorf("register %d bytes of bounce memory (see ulimit -l): %w", len(d.link.bounce.mem), err)
	}
	reads, err := o.PD.Register(d.link.reads.mem, remoteWrite)
	if err != nil {
		_ = bounce.Close()
		return fmt.Errorf("register %d bytes for plain reads (see ulimit -l): %w", len(d.link.reads.mem), err)
	}
	o.bounce, o.reads, o.ready = bounce, reads, true
	for _, mem := range d.attached() {
		d.register(o, mem)
	}
	return nil
}

// release closes the device after its last connection. Errors of it mean that
// the kernel has taken the device away, with all that was on it.
func (d *device) release(o *opened) {
	d.change.Lock()
	defer d.change.Unlock()
	if o.refs--; o.refs > 0 {
		return
	}
	for _, mem := range d.attached() {
		_ = d.evict(mem)
	}
	if o.ready {
		_ = o.bounce.Close()
		_ = o.reads.Close()
	}
	_ = o.Close()
	d.open = nil
}

// attach makes mem a destination, registered where the device can.
func (d *device) attach(mem transport.Memory) {
	d.change.Lock()
	defer d.change.Unlock()
	d.set(mem, region{}, "")
	if d.open != nil && d.open.ready {
		d.register(d.open, mem)
	}
}

func (d *device) detach(mem transport.Memory) error {
	d.change.Lock()
	defer d.change.Unlock()
	err := d.evict(mem)
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.regions, mem)
	return err
}

// refused reports whether the device that is open can't register mem.
func (d *device) refused(mem transport.Memory) bool {
	d.change.Lock()
	defer d.change.Unlock()
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.open != nil && d.open.ready && d.regions[mem].mr == nil
}

// register leaves mem unregistered where the device can't: its payload is then
// staged, and each result says so.
func (d *device) register(o *opened, mem transport.Memory) {
	mr, how, err := register(o.PD, mem)
	if err != nil {
		return
	}
	d.misses.Add(1)
	d.set(mem, region{mr}, how)
}

// evict undoes mem's registration.
func (d *device) evict(mem transport.Memory) error {
	d.mu.RLock()
	mr := d.regions[mem].mr
	d.mu.RUnlock()
	if mr == nil {
		return nil
	}
	d.evictions.Add(1)
	d.set(mem, region{}, "")
	return mr.Close()
}

func (d *device) set(mem transport.Memory, r region, how string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if old := d.regions[mem].mr; old != nil {
		d.bytes -= old.Len
	}
	if r.mr != nil {
		d.bytes += r.mr.Len
		d.how = how
	}
	d.regions[mem] = r
}

func (d *device) attached() []transport.Memory {
	d.mu.RLock()
	defer d.mu.RUnlock()
	all := make([]transport.Memory, 0, len(d.regions))
	for mem := range d.regions {
		all = append(all, mem)
	}
	return all
}

// find returns mem's registration, or nil. The caller keeps the device open.
func (d *device) find(mem transport.Memory) *verbs.MR {
	d.mu.RLock()
	mr := d.regions[mem].mr
	d.mu.RUnlock()
	if mr != nil {
		d.hits.Add(1)
	}
	return mr
}

func (d *device) stats() transport.RegistrationStats {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return transport.RegistrationStats{
		Hits:      d.hits.Load(),
		Misses:    d.misses.Load(),
		Evictions: d.evictions.Load(),
		Bytes:     d.bytes,
		How:       d.how,
	}
}

var errNoMapping = errors.New("the CPU can't address the memory")

// register registers all of mem for peers to write: its dma-buf, or else its
// mapping.
func register(pd *verbs.PD, mem transport.Memory) (mr *verbs.MR, how string, err error) {
	if fd, off, ok := mem.DMABuf(); ok {
		// The address that peers use is the offset in the dma-buf.
		if mr, err = pd.RegisterDMABuf(fd, off, mem.Size(), uint64(off), remoteWrite); err == nil {
			return mr, "dma-buf", nil
		}
	}
	if mem.Bytes() == nil {
		return nil, "", errors.Join(err, errNoMapping)
	}
	mr, mapErr := pd.Register(mem.Bytes(), remoteWrite)
	if mapErr != nil {
		return nil, "", errors.Join(err, mapErr)
	}
	return mr, "cpu-mapping", nil
}

// remoteWrite is the access that a destination is registered with.
const remoteWrite = verbs.LocalWrite | verbs.RemoteWrite
