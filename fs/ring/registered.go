package ring

import (
	"slices"
	"sync"
	"syscall"
)

// Registered are the registrations of one open file. The zero value has none. Methods
// may be called concurrently.
type Registered struct {
	mu  sync.Mutex
	all []registration
}

type registration struct {
	ring   *Ring
	number uint32
	file   File
}

// Add registers the open file, as f, with a ring, and returns its number, which stays the
// same if it is registered with that already.
func (g *Registered) Add(r *Ring, f File) (number uint32, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if i := slices.IndexFunc(g.all, func(o registration) bool { return o.ring == r }); i >= 0 {
		return g.all[i].number, nil
	}
	number, err = r.Register(f)
	if err != nil {
		return 0, err
	}
	if len(g.all) == cap(g.all) {
		g.all = slices.DeleteFunc(g.all, func(o registration) bool { return o.ring.closed.Load() })
	}
	g.all = append(g.all, registration{r, number, f})
	return number, nil
}

// Remove ends a registration. The error is ENOENT if there is none of the open file.
func (g *Registered) Remove(r *Ring, number uint32) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	i := slices.IndexFunc(g.all, func(o registration) bool { return o.ring == r && o.number == number })
	if i < 0 {
		return syscall.ENOENT
	}
	r.Remove(number, g.all[i].file)
	g.all = slices.Delete(g.all, i, i+1)
	return nil
}

// Close ends all.
func (g *Registered) Close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, o := range g.all {
		o.ring.Remove(o.number, o.file)
	}
	g.all = nil
}
