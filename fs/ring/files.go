package ring

import (
	"sync"
	"syscall"
	"time"

	"hbmfs/fs/uapi"
)

// maxFiles is how many files may be registered with a ring.
const maxFiles = 65536

// files are those that are registered with a ring, by number.
type files struct {
	mu     sync.RWMutex
	by     map[uint32]File
	last   uint32 // number given out
	closed bool
}

// Register enters a file, and returns its number, which is not used again. The error is
// ENFILE, or ENOENT if the ring has ended.
func (r *Ring) Register(f File) (number uint32, err error) {
	fs := &r.files
	fs.mu.Lock()
	defer fs.mu.Unlock()
	switch {
	case fs.closed:
		return 0, syscall.ENOENT
	case len(fs.by) >= maxFiles || fs.last == ^uint32(0):
		return 0, syscall.ENFILE
	case fs.by == nil:
		fs.by = make(map[uint32]File)
	}
	fs.last++
	fs.by[fs.last] = f
	return fs.last, nil
}

// Remove ends a registration, if the file has that number. The ring calls the file no
// more then, but for what is under way.
func (r *Ring) Remove(number uint32, f File) bool {
	r.files.mu.Lock()
	defer r.files.mu.Unlock()
	if f == nil || r.files.by[number] != f {
		return false
	}
	delete(r.files.by, number)
	return true
}

func (fs *files) close() {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.by, fs.closed = nil, true
}

// resident has the file of an operation do it at once, if that can be. If not, it
// returns the file, retained, or nil if there is none.
func (fs *files) resident(op *uapi.RingOp, name string, since time.Duration, got *Got) (f File, done bool) {
	fs.mu.RLock()
	defer fs.mu.RUnlock()
	f = fs.by[op.File]
	if f == nil {
		return nil, false
	}
	if name == "" && f.Resident(op, since, got) {
		return f, true
	}
	f.Retain()
	return f, false
}
