package target

import (
	"fmt"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// leases watches every settled file of this process: the kernel tells the
// process of a broken lease by SIGIO, without saying which.
var leases leaseWatch

const (
	// lookEvery bounds how long a lost signal can hold a writer, and how long a
	// change that comes without a signal goes unnoticed.
	lookEvery = time.Second
	// lookAtOnce is how many files are looked at while opens and closes wait.
	lookAtOnce = 64
)

type leaseWatch struct {
	mu    sync.Mutex
	files map[*openFile]struct{} // settled, not seen to have changed
	users int                    // targets
	kick  chan struct{}          // nil while there are no users
	quit  chan struct{}
	done  chan struct{}
}

// start begins to watch. Each start needs its stop.
func (w *leaseWatch) start() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.users++
	if w.users > 1 {
		return
	}
	w.files = make(map[*openFile]struct{})
	w.kick = make(chan struct{}, 1)
	w.quit = make(chan struct{})
	w.done = make(chan struct{})
	broken := make(chan os.Signal, 1)
	signal.Notify(broken, unix.SIGIO)
	go w.watch(broken, w.kick, w.quit, w.done)
}

func (w *leaseWatch) stop() {
	w.mu.Lock()
	w.users--
	if w.users > 0 {
		w.mu.Unlock()
		return
	}
	close(w.quit)
	done := w.done
	w.kick = nil
	w.mu.Unlock()
	<-done
}

// look asks for a look at every lease, soon.
func (w *leaseWatch) look() {
	w.mu.Lock()
	kick := w.kick
	w.mu.Unlock()
	select {
	case kick <- struct{}{}:
	default:
	}
}

func (w *leaseWatch) watch(broken chan os.Signal, kick, quit, done chan struct{}) {
	defer close(done)
	defer signal.Stop(broken)
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-quit:
			return
		case <-broken:
		case <-kick:
		case <-tick.C:
		}
		for table, files := range w.takeBroken() {
			table.revoke(files)
		}
	}
}

// takeBroken removes the files that changed or whose lease is being broken. It
// gives each with a reference, and counted in its table's revoking.
func (w *leaseWatch) takeBroken() map[*fileTable][]*openFile {
	w.mu.Lock()
	files := slices.Collect(maps.Keys(w.files))
	w.mu.Unlock()
	found := make(map[*fileTable][]*openFile)
	for some := range slices.Chunk(files, lookAtOnce) {
		w.takeBrokenOf(some, found)
	}
	return found
}

func (w *leaseWatch) takeBrokenOf(files []*openFile, found map[*fileTable][]*openFile) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, f := range files {
		if _, watched := w.files[f]; !watched || f.unchanged() {
			continue
		}
		delete(w.files, f)
		f.table.revoking.Add(1)
		if !f.acquire() { // being closed, which ends the lease
			f.table.revoking.Done()
			continue
		}
		found[f.table] = append(found[f.table], f)
	}
}

func (w *leaseWatch) add(f *openFile) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.files[f] = struct{}{}
}

func (w *leaseWatch) remove(f *openFile) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.files, f)
}

// takeLease takes a read lease on fd, a file in fs. It returns "" or why there is
// none.
func takeLease(fd int, fs uint32) string {
	if !leasesCover(fs) {
		return fmt.Sprintf("its file system (%#x) can have writers that break no lease: serve from a local one, not a network file system or an overlay", fs)
	}
	// Without an owner the kernel would signal one thread, by a wrong id.
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETOWN, os.Getpid()); err != nil {
		return "fcntl F_SETOWN: " + err.Error()
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

func leasesOff() bool {
	value, err := os.ReadFile("/proc/sys/fs/leases-enable")
	return err == nil && strings.TrimSpace(string(value)) == "0"
}

func dropLease(fd int) {
	// It fails if the kernel took the lease away first, which is as well.
	_, _ = unix.FcntlInt(uintptr(fd), unix.F_SETLEASE, unix.F_UNLCK)
}
