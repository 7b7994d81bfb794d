package main

import (
	"os"
	"path/filepath"
	"time"

	"hbmfs/fs/client"
)

// load takes the files of the set as a training does: in another order each time, all of
// each, and most of them by a mount that stays open.
func (t *thread) load() {
	for !t.board.over.Load() {
		for _, i := range t.rand.Perm(setFiles) {
			if t.board.over.Load() {
				break
			}
			t.number = rootFiles + i
			t.sample()
		}
	}
	t.close()
}

// sample opens a file, takes it, and closes it.
func (t *thread) sample() {
	if err := t.take(); err != nil {
		t.failed(err)
		t.close()
		time.Sleep(time.Millisecond) // the mount may be gone
	}
	t.closeFile()
}

// take leaves now and then what it fetched to the end of the file, and reads it again.
func (t *thread) take() error {
	if err := t.openOne(); err != nil {
		return err
	}
	if err := t.fetch(0, 300<<10); err != nil {
		return err
	}
	if t.rand.IntN(8) == 0 {
		off, n := t.span()
		if err := t.fetch(off, n); err != nil {
			return err
		}
	}
	if t.rand.IntN(2) == 0 {
		t.releaseOne()
	}
	return nil
}

// openOne opens the file for FETCH only.
func (t *thread) openOne() (err error) {
	defer t.state.begin(opOpen, t.number)()
	if err := t.withMount(); err != nil {
		return err
	}
	oldest := t.nameMayBeOf()
	name := filepath.Join(t.dir, fileName(t.number))
	if t.rand.IntN(8) == 0 {
		if _, err := os.Stat(name); err != nil { // it may be opened by what this finds
			return err
		}
	}
	if t.file, err = t.mount.Open(name); err != nil {
		return err
	}
	t.opened = window{oldest, t.newest()}
	return nil
}

// withMount makes sure of a mount.
func (t *thread) withMount() (err error) {
	if t.mount == nil {
		t.mount, err = client.OpenMount(t.dir)
	}
	return err
}
