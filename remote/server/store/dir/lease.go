package dir

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"hbmfs/remote/server/store/dir/breaks"
	"hbmfs/remote/term"
)

const (
	// lookEvery bounds how long a change that comes without a signal goes
	// unnoticed.
	lookEvery = time.Second
	// lookAtOnce is how many files are looked at while opens and closes wait.
	lookAtOnce = 64
)

// leaseWatch finds the files whose lease is being broken, by the kernel's signal,
// and those that changed without, by a look at all of them now and then.
type leaseWatch struct {
	names  *names // nil: nothing is delegated
	thread *breaks.Thread
	kick   chan struct{}
	quit   chan struct{}
	done   chan struct{}

	mu    sync.Mutex
	files map[int]*file // by descriptor: settled, not seen to have changed

	looked atomic.Int64 // when a look at all began that has ended, by term.Boot
}

// start begins to watch, until stop.
func (w *leaseWatch) start() error {
	w.files = make(map[int]*file)
	w.looked.Store(int64(term.Boot()))
	w.kick = make(chan struct{}, 1)
	w.quit = make(chan struct{})
	w.done = make(chan struct{})
	var err error
	if w.thread, err = breaks.Listen(w.broken); err != nil {
		return fmt.Errorf("wait for broken leases: %w", err)
	}
	go w.watch()
	return nil
}

func (w *leaseWatch) stop() {
	close(w.quit)
	w.thread.Stop()
	<-w.done
}

// look asks for a look at every lease, soon.
func (w *leaseWatch) look() {
	select {
	case w.kick <- struct{}{}:
	default:
	}
}

func (w *leaseWatch) watch() {
	defer close(w.done)
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-w.quit:
			return
		case <-w.kick:
		case <-tick.C:
		}
		w.lookAtAll()
	}
}

// broken looks at the files whose leases the kernel says are being broken.
func (w *leaseWatch) broken(fds []int, all bool) {
	if all {
		w.look()
	}
	w.mu.Lock()
	files := make([]*file, 0, len(fds))
	for _, fd := range fds {
		if f := w.files[fd]; f != nil {
			files = append(files, f)
		}
	}
	w.mu.Unlock()
	w.lookAt(files)
	if w.names != nil {
		w.names.broken(fds)
	}
}

func (w *leaseWatch) lookAtAll() {
	began := term.Boot()
	w.mu.Lock()
	files := slices.Collect(maps.Values(w.files))
	w.mu.Unlock()
	w.lookAt(files)
	if w.names != nil {
		w.names.lookAtAll()
	}
	w.looked.Store(int64(began))
}

// areWatched reports whether no lease can have been taken away unseen: the kernel
// leaves each for breaks.MinTime.
func (w *leaseWatch) areWatched() bool {
	return term.Boot()-time.Duration(w.looked.Load()) < breaks.MinTime
}

// lookAt revokes those of the files that changed or whose lease is being broken.
func (w *leaseWatch) lookAt(files []*file) {
	var found []*file
	for some := range slices.Chunk(files, lookAtOnce) {
		found = w.takeBroken(some, found)
	}
	if len(found) > 0 {
		found[0].files.revoke(found)
	}
}

// takeBroken removes the files that changed or whose lease is being broken, and
// adds them to found: each with a reference, and counted in revoking.
func (w *leaseWatch) takeBroken(files, found []*file) []*file {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, f := range files {
		if w.files[f.fd] != f || f.unchanged() {
			continue
		}
		delete(w.files, f.fd)
		f.files.revoking.Add(1)
		if !f.acquire() { // being closed, which ends the lease
			f.files.revoking.Done()
			continue
		}
		found = append(found, f)
	}
	return found
}

func (w *leaseWatch) add(f *file) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.files[f.fd] = f
}

func (w *leaseWatch) remove(f *file) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.files[f.fd] == f {
		delete(w.files, f.fd)
	}
}

// takeLease takes a read lease on fd, a file in fs. It returns "" or why there is
// none.
func (w *leaseWatch) takeLease(fd int, fs uint32) string {
	if !leasesCover(fs) {
		return fmt.Sprintf("its file system (%#x) can have writers that break no lease: serve from a local one, not a network file system or an overlay", fs)
	}
	if err := w.thread.Own(fd); err != nil {
		return err.Error()
	}
	_, err := unix.FcntlInt(uintptr(fd), unix.F_SETLEASE, unix.F_RDLCK)
	switch {
	case err == nil:
		return ""
	case err == unix.EAGAIN:
		return "a writer has it open"
	case err == unix.EACCES:
		return "read leases on others' files need CAP_LEASE"
	case leasesOff():
		return "read leases are off on this host: sysctl fs.leases-enable=1 turns them on"
	}
	return "its file system gives no read leases: " + err.Error()
}

// tryLease takes a read lease on f, as a store does, and drops it again.
func tryLease(f *os.File) error {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &fs); err != nil {
		return os.NewSyscallError("fstatfs", err)
	}
	var w leaseWatch
	if err := w.start(); err != nil {
		return err
	}
	defer w.stop()
	if why := w.takeLease(int(f.Fd()), uint32(fs.Type)); why != "" {
		return errors.New(why)
	}
	dropLease(int(f.Fd()))
	return nil
}

func leasesOff() bool {
	value, err := os.ReadFile("/proc/sys/fs/leases-enable")
	return err == nil && strings.TrimSpace(string(value)) == "0"
}

func dropLease(fd int) {
	// It fails if the kernel took the lease away first, which is as well.
	_, _ = unix.FcntlInt(uintptr(fd), unix.F_SETLEASE, unix.F_UNLCK)
}
