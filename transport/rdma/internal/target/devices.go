package target

import (
	"errors"
	"fmt"
	"sync"

	"hbmfs/transport/rdma/internal/hca"
	"hbmfs/transport/rdma/internal/verbs"
)

// devices are the RDMA devices that a server's connections are on. Each is
// open while it has a connection.
type devices struct {
	arena *arena

	mu   sync.Mutex // guards all below; held while a device is opened or closed
	open map[string]*device
}

// device is what the connections on one device share.
type device struct {
	hca.Device
	users   int       // guarded by devices.mu
	staging *verbs.MR // all of the arena
}

// use returns a device, which the caller gives back to leave.
func (s *devices) use(name string) (*device, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.open[name]
	if d == nil || d.Removed.Err() != nil {
		o, err := hca.Open(name)
		if err != nil {
			return nil, err
		}
		mr, err := o.PD.Register(s.arena.mem, verbs.LocalWrite)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("%s: %w", name, err), o.Close())
		}
		d = &device{Device: o, staging: mr}
		s.open[name] = d
	}
	d.users++
	return d, nil
}

func (s *devices) leave(d *device) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d.users--; d.users > 0 {
		return nil
	}
	if s.open[d.Name] == d {
		delete(s.open, d.Name)
	}
	err := d.staging.Close()
	return errors.Join(err, d.Close())
}
