package loader

import (
	"errors"
	"io"
	"sync"
)

// openFiles opens a set's files for all workers of an epoch: those with several
// samples once, until the epoch's end.
type openFiles[F io.Closer] struct {
	open func(file int) (F, error)
	keep bool

	mu    sync.Mutex
	files map[int]func() (F, error) // guarded by mu; each opens once
}

func newOpenFiles[F io.Closer](set *Set, open func(int) (F, error)) *openFiles[F] {
	return &openFiles[F]{open: open, keep: set.Workload.Sample > 0, files: make(map[int]func() (F, error))}
}

func (o *openFiles[F]) take(file int) (F, error) {
	if !o.keep {
		return o.open(file)
	}
	o.mu.Lock()
	once, ok := o.files[file]
	if !ok {
		once = sync.OnceValues(func() (F, error) { return o.open(file) })
		o.files[file] = once
	}
	o.mu.Unlock()
	return once()
}

// giveBack closes a file that no other sample needs.
func (o *openFiles[F]) giveBack(f F) error {
	if o.keep {
		return nil
	}
	return f.Close()
}

// Close implements [io.Closer]: no worker uses a file any more.
func (o *openFiles[F]) Close() (err error) {
	for _, once := range o.files {
		if f, openErr := once(); openErr == nil {
			err = errors.Join(err, f.Close())
		}
	}
	return err
}
