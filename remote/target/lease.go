package target

import (
	"os"
	"os/signal"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// leases watches every read lease of this process: the kernel tells the process
// of a broken one by SIGIO, without saying which.
var leases leaseWatch

// lookEvery bounds how long a lost signal can hold a writer.
const lookEvery = time.Second

type leaseWatch struct {
	mu    sync.Mutex
	files map[*openFile]struct{} // leased, not yet broken
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

// takeBroken removes the files whose lease is being broken. It gives each with a
// reference, and each table with its revoking counted.
func (w *leaseWatch) takeBroken() map[*fileTable][]*openFile {
	w.mu.Lock()
	defer w.mu.Unlock()
	var found map[*fileTable][]*openFile
	for f := range w.files {
		if kind, err := unix.FcntlInt(uintptr(f.fd), unix.F_GETLEASE, 0); err == nil && kind == unix.F_RDLCK {
			continue
		}
		delete(w.files, f)
		if !f.acquire() {
			continue // being closed, which ends the lease
		}
		if found == nil {
			found = make(map[*fileTable][]*openFile)
		}
		if len(found[f.table]) == 0 {
			f.table.revoking.Add(1)
		}
		found[f.table] = append(found[f.table], f)
	}
	return found
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

// takeLease takes a read lease on fd. It returns "" or why there is none.
func takeLease(fd int) string {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err == nil && remoteFS(int64(fs.Type)) {
		return "its file system is not local, and changes on other hosts go unnoticed"
	}
	// Without an owner the kernel would signal one thread, by a wrong id.
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETOWN, os.Getpid()); err != nil {
		return "fcntl F_SETOWN: " + err.Error()
	}
	_, err := unix.FcntlInt(uintptr(fd), unix.F_SETLEASE, unix.F_RDLCK)
	switch err {
	case nil:
		return ""
	case unix.EAGAIN:
		return "a writer has it open"
	case unix.EACCES:
		return "read leases on others' files need CAP_LEASE"
	}
	return "its file system gives no read leases: " + err.Error()
}

func dropLease(fd int) {
	// It fails if the kernel took the lease away first, which is as well.
	_, _ = unix.FcntlInt(uintptr(fd), unix.F_SETLEASE, unix.F_UNLCK)
}

// remoteFS reports whether a lease that the local kernel grants says nothing
// about writers on other hosts, or behind a FUSE server.
func remoteFS(magic int64) bool {
	switch uint32(magic) {
	case unix.NFS_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC, unix.SMB_SUPER_MAGIC,
		unix.SMB2_SUPER_MAGIC, unix.FUSE_SUPER_MAGIC, unix.V9FS_MAGIC,
		unix.CEPH_SUPER_MAGIC, unix.AFS_SUPER_MAGIC, unix.AFS_FS_MAGIC,
		unix.CODA_SUPER_MAGIC, unix.OCFS2_SUPER_MAGIC:
		return true
	}
	return false
}
