package rdma

import (
	"errors"
	"fmt"
	"sync"

	"hbmfs/transport/rdma/internal/verbs"
)

// serverDevices are the RDMA devices that a server's connections are on. Each is
// open while it has a connection.
type serverDevices struct {
	arena *arena

	mu   sync.Mutex // guards all below; held while a device is opened or closed
	open map[string]*serverDevice
}

// serverDevice is what the connections on one device share.
type serverDevice struct {
	lifetime
	name    string
	users   int // guarded by serverDevices.mu
	ctx     *verbs.Context
	pd      *verbs.PD
	staging *verbs.MR // all of the arena
}

// use returns a device, which the caller gives back to leave.
func (s *serverDevices) use(name string) (*serverDevice, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.open[name]
	if d == nil || d.removed.Err() != nil {
		d = &serverDevice{lifetime: newLifetime(), name: name}
		if err := d.init(s.arena.mem); err != nil {
			return nil, errors.Join(fmt.Errorf("%s: %w", name, err), d.close())
		}
		s.open[name] = d
	}
	d.users++
	return d, nil
}

func (s *serverDevices) leave(d *serverDevice) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d.users--; d.users > 0 {
		return nil
	}
	if s.open[d.name] == d {
		delete(s.open, d.name)
	}
	defer close(d.closed)
	return d.close()
}

func (d *serverDevice) init(staging []byte) (err error) {
	if d.ctx, err = verbs.Open(d.name); err != nil {
		return err
	}
	if d.pd, err = d.ctx.AllocPD(); err != nil {
		return err
	}
	d.staging, err = d.pd.Register(staging, verbs.LocalWrite)
	return err
}

func (d *serverDevice) close() error {
	var errs []error
	if d.staging != nil {
		errs = append(errs, d.staging.Close())
	}
	if d.pd != nil {
		errs = append(errs, d.pd.Close())
	}
	if d.ctx != nil {
		errs = append(errs, d.ctx.Close())
	}
	return errors.Join(errs...)
}
