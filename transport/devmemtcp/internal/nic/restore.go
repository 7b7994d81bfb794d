package nic

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
)

// Restore puts back what processes that are gone left changed on NICs of this
// network namespace, and gives the names of those NICs. What a living process
// holds is left alone: busy says of which NIC, and by whom it is held. A record of
// a NIC that is in another namespace is an error that says so; all others are
// still put back.
func Restore(stateDir string) (restored, busy []string, err error) {
	k, err := openSockets()
	if err != nil {
		return nil, nil, err
	}
	defer k.Close()
	return restoreAll(k, stateDir)
}

func restoreAll(k kernel, dir string) (restored, busy []string, err error) {
	if dir == "" {
		dir = DefaultStateDir
	}
	if err := checkDir(dir); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return nil, nil, err
	}
	p, err := here()
	if err != nil {
		return nil, nil, err
	}
	records, err := filepath.Glob(filepath.Join(escaped(dir), "*"+recordSuffix))
	if err != nil {
		return nil, nil, err
	}
	for _, path := range records {
		s := &slot{base: strings.TrimSuffix(path, recordSuffix)}
		switch name, e := s.restore(k, p); {
		case errors.Is(e, ErrBusy):
			busy = append(busy, fmt.Sprintf("%s: %v", s.name(), e))
		case e != nil:
			err = errors.Join(err, e)
		case name != "":
			restored = append(restored, name)
		}
	}
	return restored, busy, err
}

// name is of the slot's NIC, or of its files.
func (s *slot) name() string {
	if r, err := s.load(); err == nil && r != nil {
		return r.Name
	}
	return s.base
}

// escaped keeps [filepath.Glob] from reading a pattern into a directory's name.
func escaped(dir string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(dir)
}

func (s *slot) restore(k kernel, p place) (name string, err error) {
	if err := s.acquire(); err != nil {
		return "", err
	}
	defer s.release()
	return s.recover(k, p)
}

// recover puts back what the record of a held slot says, if there is one.
func (s *slot) recover(k kernel, p place) (name string, err error) {
	r, err := s.load()
	if r == nil || err != nil {
		return "", err
	}
	if r.Boot != p.boot {
		return "", s.remove()
	}
	switch err := s.undo(k, r, p.netns); {
	case errors.Is(err, ErrNoNIC) && r.NetNS != p.netns:
		return "", fmt.Errorf("%s: was changed in another network namespace (inode %d); restore it there, or remove %s",
			r.Name, r.NetNS, s.base+recordSuffix)
	case errors.Is(err, ErrNoNIC):
		return "", s.remove() // it took its settings along
	case err != nil:
		return "", fmt.Errorf("%s: putting back what a process that is gone changed: %w", r.Name, err)
	}
	return r.Name, s.remove()
}

// undo puts back what r says. An interface that has another place in this
// namespace, netns, by now may have another holder, who is left alone.
func (s *slot) undo(k kernel, r *record, netns uint64) error {
	l, err := r.find(k, netns)
	if err != nil {
		return err
	}
	if now := slotOf(filepath.Dir(s.base), netns, l.Index); now.base != s.base {
		if err := now.acquire(); err != nil {
			return err
		}
		defer now.release()
	}
	return putBack(k, l, r)
}

// find gives the interface that r is about, as it is now. The error wraps
// [ErrNoNIC] if it is not in this namespace.
func (r *record) find(k kernel, netns uint64) (link, error) {
	l, err := k.linkAt(r.Index)
	if err == nil && r.NetNS == netns && l.Parent == r.Parent {
		return l, nil
	}
	if err != nil && !errors.Is(err, ErrNoNIC) {
		return link{}, err
	}
	all, err := k.links()
	if err != nil {
		return link{}, err
	}
	all = slices.DeleteFunc(all, func(l link) bool { return r.Parent == "" || l.Parent != r.Parent })
	if named := slices.IndexFunc(all, func(l link) bool { return l.Name == r.Name }); named >= 0 {
		return all[named], nil
	}
	switch len(all) {
	case 0:
		return link{}, fmt.Errorf("%w: %s of device %q", ErrNoNIC, r.Name, r.Parent)
	case 1:
		return all[0], nil
	}
	return link{}, fmt.Errorf("device %s has %d interfaces, of which none is called %s any more: rename the one that was", r.Parent, len(all), r.Name)
}
