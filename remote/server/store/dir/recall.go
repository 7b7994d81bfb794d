package dir

import (
	"maps"
	"path"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// broken recalls those of the descriptors whose delegations are being broken.
func (n *names) broken(fds []int) {
	n.mu.Lock()
	some := make([]*delegated, 0, len(fds))
	for _, fd := range fds {
		if d := n.byFD[fd]; d != nil {
			some = append(some, d)
		}
	}
	n.mu.Unlock()
	n.lookAt(some, func(d *delegated) bool { return !n.kernel.held(d.fd) })
}

// lookAtAll finds what comes without a signal too: attributes that change without
// breaking a delegation.
func (n *names) lookAtAll() {
	n.lookAt(n.all(), func(d *delegated) bool { return !n.kernel.held(d.fd) || d.isTouched() })
}

// findCovered finds what something was mounted over.
func (n *names) findCovered() { n.lookAt(n.all(), (*delegated).isCovered) }

func (n *names) all() []*delegated {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Collect(maps.Values(n.byFD))
}

func (d *delegated) isTouched() bool {
	if !d.isFile {
		return false
	}
	var st unix.Stat_t
	return unix.Fstat(d.fd, &st) != nil || st.Ctim != d.ctime
}

// isCovered reports whether the name of d leads into another mount.
func (d *delegated) isCovered() bool {
	if d.parent == nil {
		return false // which [Store.Follow] finds out
	}
	var st unix.Statx_t
	err := unix.Statx(d.parent.fd, path.Base(d.path), unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT|unix.AT_STATX_DONT_SYNC, 0, &st)
	return err != nil || st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
}

// lookAt recalls those for which is reports true.
func (n *names) lookAt(some []*delegated, is func(*delegated) bool) {
	some = n.keep(some)
	var found []*delegated
	for _, d := range some {
		if is(d) {
			found = append(found, d)
		}
	}
	if len(found) > 0 {
		n.recall(found)
	}
	for _, d := range some {
		n.release(d)
	}
}

// keep takes references to those that are delegated.
func (n *names) keep(some []*delegated) []*delegated {
	n.mu.Lock()
	defer n.mu.Unlock()
	kept := make([]*delegated, 0, len(some))
	for _, d := range some {
		if d.refs > 0 && d.taken && !d.recalled {
			d.refs++
			kept = append(kept, d)
		}
	}
	return kept
}

// recall tells the holders of all names that lead through what is about to change, and
// lets it change once they believe them no more.
func (n *names) recall(found []*delegated) {
	n.files.revoking.Add(1)
	all, told := n.markRecalled(found)
	n.files.log.Debug("names recalled", "path", found[0].path, "delegations", len(all), "holders", len(told))
	var released []func()
	for _, h := range told {
		released = append(released, h.holder.Revoke())
	}
	go func() {
		defer n.files.revoking.Done()
		for _, wait := range released {
			wait()
		}
		for _, d := range all {
			n.kernel.drop(d.fd)
			n.release(d)
		}
	}()
}

// markRecalled marks what was found, and all below: each gets a reference.
func (n *names) markRecalled(found []*delegated) (all []*delegated, told []*hold) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for rest := slices.Clone(found); len(rest) > 0; {
		d := rest[0]
		rest = rest[1:]
		if d.recalled {
			continue
		}
		d.recalled = true
		d.refs++
		all = append(all, d)
		if n.at[d.place] == d {
			delete(n.at, d.place)
		}
		told = slices.AppendSeq(told, maps.Keys(d.holds))
		rest = slices.AppendSeq(rest, maps.Keys(d.below))
	}
	for _, d := range found {
		n.calmed[d.place] = time.Now().Add(n.calm)
	}
	if len(n.calmed) > maxCalm {
		maps.DeleteFunc(n.calmed, func(_ place, until time.Time) bool { return time.Now().After(until) })
	}
	return all, told
}
