package nic

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
)

// Restore puts back what processes that are gone left changed on NICs of this
// network namespace, and gives the names of those NICs. What a living process
// holds is left alone. A record of another namespace is an error that says so;
// all others are still put back.
func Restore(stateDir string) (restored []string, err error) {
	k, err := openSockets()
	if err != nil {
		return nil, err
	}
	defer k.Close()
	return restoreAll(k, stateDir)
}

func restoreAll(k kernel, dir string) (restored []string, err error) {
	if dir == "" {
		dir = DefaultStateDir
	}
	p, err := here()
	if err != nil {
		return nil, err
	}
	records, err := filepath.Glob(filepath.Join(escaped(dir), "*"+recordSuffix))
	if err != nil {
		return nil, err
	}
	for _, path := range records {
		s := &slot{base: strings.TrimSuffix(path, recordSuffix)}
		name, e := s.restore(k, p)
		if name != "" {
			restored = append(restored, name)
		}
		err = errors.Join(err, e)
	}
	return restored, err
}

// escaped keeps [filepath.Glob] from reading a pattern into a directory's name.
func escaped(dir string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(dir)
}

func (s *slot) restore(k kernel, p place) (name string, err error) {
	err = s.acquire()
	if errors.Is(err, ErrBusy) {
		return "", nil
	}
	if err != nil {
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
	if r.NetNS != p.netns {
		return "", fmt.Errorf("%s: was changed in another network namespace (inode %d); restore it there, or remove %s",
			r.Name, r.NetNS, s.base+recordSuffix)
	}
	if err := putBack(k, r); err != nil {
		return "", fmt.Errorf("%s: putting back what a process that is gone changed: %w", r.Name, err)
	}
	return r.Name, s.remove()
}
