package tests

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hbmfs/integration/lab/guest"
)

// soakNames is how many files a soak changes in turn: so many that a name is delegated
// again by its next turn.
const (
	soakNames = 60
	soakPause = 250 * time.Millisecond
)

// soaked is a file of a soak: below dir, with what takes its place in out.
type soaked struct {
	number   int
	dir, out string
	latest   atomic.Int64 // the version that is there for sure
}

// replace has another version take the file's place, one way or another.
func (f *soaked) replace(version int) error {
	next := fmt.Sprintf("%s/dir/f", f.out)
	if err := writeFiles([]string{fmt.Sprintf("%s:%d:%d:4096", next, f.number, version)}); err != nil {
		return err
	}
	var err error
	switch name := f.dir + "/a/f"; version % 3 {
	case 0:
		err = os.Rename(next, name)
	case 1:
		err = unix.Renameat2(unix.AT_FDCWD, f.out+"/dir", unix.AT_FDCWD, f.dir+"/a", unix.RENAME_EXCHANGE)
	case 2:
		err = errors.Join(os.Remove(name), os.Link(next, name), os.Remove(next))
	}
	f.latest.Store(int64(version))
	return err
}

// read returns an error if the mount's file is a version from before the latest.
func (f *soaked) read(mount string) error {
	least := f.latest.Load()
	b, err := os.ReadFile(filepath.Join(mount, strconv.Itoa(f.number), "a/f"))
	if errors.Is(err, syscall.ESTALE) || errors.Is(err, os.ErrNotExist) {
		return nil // it is being replaced
	}
	if err != nil {
		return err
	}
	version := int64(binary.BigEndian.Uint64(b) >> 40 & 0xff)
	if version < least {
		return fmt.Errorf("file %d: version %d was opened after version %d was there", f.number, version, least)
	}
	return wrongWords(b, f.number, int(version), 0)
}

// TestNamesSoak replaces files whose names are delegated while others open them.
func TestNamesSoak(t *testing.T) {
	src := namesSource(t, "ext4")
	r := &namesRig{T: t}
	var files []*soaked
	var names []string
	for i := range soakNames {
		f := &soaked{number: i, dir: filepath.Join(src, strconv.Itoa(i)), out: filepath.Join(filepath.Dir(src), "out", strconv.Itoa(i))}
		f.latest.Store(1)
		r.write(f.dir+"/a/f", i, 1)
		files, names = append(files, f), append(names, strconv.Itoa(i)+"/a/f")
	}
	r = startNames(t, src)
	r.settle(names...)
	ended := make(chan struct{})
	var readers sync.WaitGroup
	var reads atomic.Int64
	for range 3 {
		readers.Go(func() {
			for {
				select {
				case <-ended:
					return
				default:
				}
				if err := files[rand.N(len(files))].read(r.m.dir); err != nil {
					t.Error(err)
					return
				}
				reads.Add(1)
			}
		})
	}
	changes := 0
	for end := time.Now().Add(guest.Soak(t, 45*time.Second)); time.Now().Before(end); changes++ {
		time.Sleep(soakPause)
		f := files[changes%len(files)]
		if err := f.replace(int(f.latest.Load())%0xff + 1); err != nil {
			t.Error(err)
		}
	}
	close(ended)
	readers.Wait()
	s := r.m.stats(t).Target
	t.Logf("%d changes, %d reads, %d opens without a message, %d names are delegated", changes, reads.Load(), s.Unasked, s.Delegated)
}
