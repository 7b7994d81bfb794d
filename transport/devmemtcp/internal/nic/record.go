package nic

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// record says what a NIC was before it was changed, and whose change it is. A
// setting that was not changed is nil.
type record struct {
	Boot  string // id of the boot: settings do not outlive it
	NetNS uint64 // inode of the network namespace
	Index int
	Name  string
	// Parent is the device that does the interface's DMA, as "bus/name". Inodes
	// and indices are used again, and interfaces move: this says which it is.
	Parent string

	Queues []int // taken
	Split  *splitMode
	Thresh *uint32
	NTuple *bool
	RSS    []uint32
	Flows  []flow // of the rules that may be there
}

// errRecord says that a record can't be read.
var errRecord = errors.New("unreadable record of a NIC's settings")

// parseRecord reads what [slot.save] wrote.
func parseRecord(b []byte) (*record, error) {
	r := new(record)
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("%w: %w", errRecord, err)
	}
	if r.Index <= 0 || r.Name == "" || r.Boot == "" {
		return nil, fmt.Errorf("%w: it names no interface", errRecord)
	}
	for _, f := range r.Flows {
		if !f.Local.IsValid() || !f.Remote.IsValid() {
			return nil, fmt.Errorf("%w: a flow without addresses", errRecord)
		}
	}
	return r, nil
}

// slot is the place in the state directory of one NIC: a lock file and a record.
type slot struct {
	base string
	lock *os.File // nil while not held
}

const (
	lockSuffix   = ".lock"
	recordSuffix = ".json"
)

func slotOf(dir string, netns uint64, index int) *slot {
	return &slot{base: filepath.Join(dir, fmt.Sprintf("%d-%d", netns, index))}
}

// load gives nil if there is no record.
func (s *slot) load() (*record, error) {
	b, err := os.ReadFile(s.base + recordSuffix)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	r, err := parseRecord(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w; remove it once the NIC is as it should be", s.base+recordSuffix, err)
	}
	return r, nil
}

// save replaces the record at once, and returns when it is stored. The slot is
// held: nobody else writes.
func (s *slot) save(r *record) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(s.base+".tmp", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), s.base+recordSuffix)
}

func (s *slot) remove() error {
	err := os.Remove(s.base + recordSuffix)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
