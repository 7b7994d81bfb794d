package dir

import (
	"fmt"
	"os"
	"path"
	"time"

	"golang.org/x/sys/unix"

	"hbmfs/transport"
)

// find returns a reference to what is delegated at p, or nil. The error is of a
// place where nothing is to be delegated now.
func (n *names) find(p place) (*delegated, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if d := n.at[p]; d != nil {
		d.refs++
		return d, nil
	}
	if until, ok := n.calmed[p]; ok && time.Now().Before(until) {
		return nil, undelegated("it, or a directory on the way to it, was changed just now")
	}
	return nil, nil
}

// file returns a reference to the delegation of a file, which is taken if there is
// none, and of all directories on the way to it. It is found by its name after that
// of the directory that has the name was taken, and looked at after its own was.
func (n *names) file(p place, v transport.Version) (*delegated, error) {
	if d, err := n.find(p); err != nil {
		return nil, err
	} else if d != nil {
		if d.version != v {
			n.release(d)
			return nil, fmt.Errorf("%w since it was opened", transport.ErrStale)
		}
		return d, nil
	}
	parent, err := n.directory(p.parent())
	if err != nil {
		return nil, err
	}
	fd, err := openFile(parent.fd, path.Base(p.path))
	if err != nil {
		n.release(parent)
		return nil, err
	}
	return n.add(&delegated{place: p, parent: parent, fd: fd, isFile: true, version: v}, (*delegated).checkVersion)
}

func (p place) parent() place {
	dir := path.Dir(p.path)
	if dir == "." {
		dir = ""
	}
	return place{p.tree, dir}
}

// directory is file for a directory.
func (n *names) directory(p place) (*delegated, error) {
	if d, err := n.find(p); d != nil || err != nil {
		return d, err
	}
	d := &delegated{place: p, fd: -1}
	var err error
	if p.path == "" {
		err = p.tree.withRoot(func(root int) (err error) {
			d.fd, err = openWithin(root, ".", unix.O_RDONLY|unix.O_DIRECTORY)
			return err
		})
	} else if d.parent, err = n.directory(p.parent()); err == nil {
		if d.fd, err = openWithin(d.parent.fd, path.Base(p.path), unix.O_RDONLY|unix.O_DIRECTORY); err != nil {
			n.release(d.parent)
		}
	}
	if err != nil {
		return nil, err
	}
	return n.add(d, func(*delegated) error { return nil })
}

// openWithin opens a name in dir that is in the same mount.
func openWithin(dir int, name string, flags uint64) (int, error) {
	how := unix.OpenHow{Flags: flags | unix.O_NOFOLLOW | unix.O_CLOEXEC, Resolve: beneath | unix.RESOLVE_NO_XDEV}
	for {
		fd, err := unix.Openat2(dir, name, &how)
		switch err {
		case unix.EINTR:
			continue
		case nil:
			return fd, nil
		case unix.EXDEV:
			return -1, undelegated("a file system is mounted on the way to it")
		}
		return -1, undelegated("openat2: " + err.Error())
	}
}

func openFile(dir int, name string) (int, error) {
	at, err := openWithin(dir, name, unix.O_PATH)
	if err != nil {
		return -1, err
	}
	defer unix.Close(at)
	var st unix.Stat_t
	if err := unix.Fstat(at, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return -1, undelegated("it is no regular file")
	}
	fd, err := reopen(at)
	if err != nil {
		return -1, undelegated(err.Error())
	}
	return fd, nil
}

// checkVersion returns nil if a file is the version that it should be, and has been for
// long enough for a next one to be told from it.
func (d *delegated) checkVersion() error {
	var st unix.Stat_t
	if err := unix.Fstat(d.fd, &st); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	d.ctime = st.Ctim
	attr, err := statAt(d.fd, "")
	if err != nil {
		return err
	}
	if transport.Version(attr.Version) != d.version {
		return fmt.Errorf("%w since it was opened", transport.ErrStale)
	}
	if wait, why := untilDistinct(time.Now(), attr); wait > 0 || why != "" {
		return undelegated("it changed just now")
	}
	return nil
}

// add has d delegated, takes it and what it refers to over, and returns a reference to
// what is delegated at its place then.
func (n *names) add(d *delegated, check func(*delegated) error) (*delegated, error) {
	d.refs, d.below, d.holds = 1, make(map[*delegated]struct{}), make(map[*hold]struct{})
	if !n.reserve() {
		unix.Close(d.fd)
		n.release(d.parent)
		return nil, undelegated("there is no room for further delegations: raise the target's limit of descriptors (ulimit -n)")
	}
	n.enter(d) // before it is taken: what happens to it is not missed
	if err := n.take(d, check); err != nil {
		n.release(d)
		return nil, err
	}
	return n.publish(d)
}

// take delegates d, and then looks at it. What breaks it before it is marked is seen at
// the end.
func (n *names) take(d *delegated, check func(*delegated) error) error {
	if err := n.kernel.take(d.fd, n.files.watch.thread); err != nil {
		return undelegated(err.Error())
	}
	if err := check(d); err != nil {
		return err
	}
	if err := n.markTaken(d); err != nil {
		return err
	}
	if d.isCovered() || !n.kernel.held(d.fd) {
		n.recall([]*delegated{d})
		return errChangedNow
	}
	return nil
}

func (n *names) enter(d *delegated) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.byFD[d.fd] = d
	if d.parent != nil {
		d.parent.below[d] = struct{}{}
		d.recalled = d.parent.recalled
	}
}

func (n *names) markTaken(d *delegated) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	d.taken = true
	if d.recalled {
		return errChangedNow
	}
	return nil
}

// publish has others find d, or returns what they find at its place in its stead.
func (n *names) publish(d *delegated) (*delegated, error) {
	n.mu.Lock()
	other := n.at[d.place]
	switch {
	case d.recalled:
	case other == nil:
		n.at[d.place] = d
		n.mu.Unlock()
		return d, nil
	case other.version == d.version:
		other.refs++
		n.mu.Unlock()
		n.release(d)
		return other, nil
	}
	n.mu.Unlock()
	n.release(d)
	return nil, errChangedNow
}

// release gives a reference back. The last one ends the delegation.
func (n *names) release(d *delegated) {
	for d != nil {
		n.mu.Lock()
		if d.refs--; d.refs > 0 {
			n.mu.Unlock()
			return
		}
		delete(n.byFD, d.fd)
		if n.at[d.place] == d {
			delete(n.at, d.place)
		}
		if d.parent != nil {
			delete(d.parent.below, d)
		}
		n.mu.Unlock()
		n.kernel.drop(d.fd)
		unix.Close(d.fd)
		n.unreserve()
		d = d.parent
	}
}
