package target

import (
	"context"
	"log/slog"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"hbmfs/remote/wire"
	"hbmfs/transport"
)

const (
	// clockTick is longer than the kernel's time stamps are coarse.
	clockTick = 20 * time.Millisecond
	// coarseTick is the same for file systems that keep whole seconds.
	coarseTick = 2 * time.Second
	// ackTimeout bounds how long a writer waits for mounts to be told.
	ackTimeout = 500 * time.Millisecond
)

// fileTable holds the files that a target has open. A settled version is open
// once, however many sessions have it.
type fileTable struct {
	log *slog.Logger

	mu       sync.Mutex
	shared   map[transport.Version]*openFile
	revoking sync.WaitGroup
}

// open opens the version of path that is there, and returns a reference.
func (t *fileTable) open(ctx context.Context, d *dataset, path []byte) (*openFile, *wire.Attr, error) {
	attr, err := d.stat(path)
	if err != nil {
		return nil, nil, err
	}
	if err := checkType(attr.Mode); err != nil {
		return nil, nil, err
	}
	if f := t.get(transport.Version(attr.Version)); f != nil {
		return f, attr, nil
	}
	f, attr, err := t.openNew(ctx, d, path)
	if err != nil {
		return nil, nil, err
	}
	return t.put(f), attr, nil
}

func (t *fileTable) openNew(ctx context.Context, d *dataset, path []byte) (*openFile, *wire.Attr, error) {
	fd, err := d.openRead(path)
	if err != nil {
		return nil, nil, os.NewSyscallError("openat2", err)
	}
	f := &openFile{fd: fd, table: t}
	f.refs.Store(1)
	var attr *wire.Attr
	if d.kind == wire.Dataset_BLOCK_DEVICE {
		f.guard = guardReadOnly
		attr, err = statDevice(fd)
	} else {
		attr, err = f.settle(ctx)
	}
	if err == nil {
		err = checkType(attr.Mode) // of what is open now
	}
	if err != nil {
		unix.Close(fd)
		return nil, nil, err
	}
	f.version = transport.Version(attr.Version)
	f.size = int64(attr.Size)
	return f, attr, nil
}

func checkType(mode uint32) error {
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
		return nil
	case unix.S_IFDIR:
		return unix.EISDIR
	case unix.S_IFLNK:
		return unix.ELOOP
	}
	return unix.ENXIO
}

// settle takes a lease, and waits until a later change can't have the time
// stamps of this one. Without a lease the file is unsettled.
func (f *openFile) settle(ctx context.Context) (*wire.Attr, error) {
	f.why = takeLease(f.fd)
	attr, err := statAt(f.fd, "")
	if err != nil {
		return nil, err
	}
	var wait time.Duration
	if f.why == "" {
		wait, f.why = untilDistinct(time.Now(), attr)
	}
	switch {
	case f.why != "":
		dropLease(f.fd)
		f.guard = guardStat
		f.stamp = stamp{size: int64(attr.Size), mtimeNs: attr.MtimeNs, ctimeNs: attr.CtimeNs}
		return attr, nil
	case wait == 0:
		return attr, nil
	}
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(wait):
		return statAt(f.fd, "")
	}
}

// untilDistinct says how long to wait until the clock has left the tick of the
// file's last change, or why that can't be waited for.
func untilDistinct(now time.Time, attr *wire.Attr) (time.Duration, string) {
	age := time.Duration(now.UnixNano() - attr.CtimeNs)
	if m := time.Duration(now.UnixNano() - attr.MtimeNs); m >= 0 {
		age = min(age, m) // a modification time ahead of the clock was made up
	}
	tick := clockTick
	if attr.CtimeNs%1e9 == 0 {
		tick = coarseTick
	}
	switch {
	case age >= tick:
		return 0, ""
	case age < 0:
		return 0, "it changed in the future, by this host's clock"
	case tick == coarseTick:
		return 0, "it changed just now, and its file system keeps whole seconds"
	}
	return tick - age, ""
}

// get returns a reference to the settled file of that version, or nil.
func (t *fileTable) get(v transport.Version) *openFile {
	t.mu.Lock()
	defer t.mu.Unlock()
	if f := t.shared[v]; f != nil && f.acquire() {
		return f
	}
	return nil
}

// put makes f known, and returns it, or the one of its version that is known
// already in its place.
func (t *fileTable) put(f *openFile) *openFile {
	if !f.settled() {
		return f
	}
	t.mu.Lock()
	if other := t.shared[f.version]; other != nil && other.acquire() {
		t.mu.Unlock()
		t.release(f)
		return other
	}
	t.shared[f.version] = f
	t.mu.Unlock()
	if f.guard == guardLease {
		leases.add(f)
		if !f.unchanged() {
			leases.look() // broken before it was watched
		}
	}
	return f
}

func (t *fileTable) forget(f *openFile) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.shared[f.version] == f {
		delete(t.shared, f.version)
	}
}

// release gives a reference back. Closing the last one ends the lease.
func (t *fileTable) release(f *openFile) {
	if f.refs.Add(-1) > 0 {
		return
	}
	t.forget(f)
	if f.guard == guardLease {
		leases.remove(f)
	}
	unix.Close(f.fd)
}

// revoke lets writers of files go on, once the mounts that have them open know
// or did not answer in time. It takes over what [leaseWatch.takeBroken] gave.
func (t *fileTable) revoke(files []*openFile) {
	var acks []<-chan struct{}
	for _, f := range files {
		told := f.expire()
		t.forget(f)
		t.log.Debug("lease broken", "version", f.version, "holders", len(told))
		for h := range told {
			acks = append(acks, h.session.out.post(h.handle, "a writer opened it"))
		}
	}
	go func() {
		defer t.revoking.Done()
		awaitAll(acks, ackTimeout)
		for _, f := range files {
			dropLease(f.fd)
			t.release(f)
		}
	}()
}

// awaitAll waits until every channel is closed, or the time-out.
func awaitAll(acks []<-chan struct{}, timeout time.Duration) {
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	for _, ack := range acks {
		select {
		case <-ack:
		case <-timer.C:
			return
		}
	}
}
