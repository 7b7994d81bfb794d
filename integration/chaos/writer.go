package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

func fileName(file int) string {
	if isSmall(file) {
		return fmt.Sprintf("%s/%03d", setDir, file)
	}
	return fmt.Sprintf("file-%02d", file)
}

// setDir has many small files.
const setDir = "set"

// writer changes files, one at a time, in every way there is.
type writer struct {
	board *board
	dir   string
	rand  *rand.Rand

	writes  atomic.Int64
	longest atomic.Int64 // that an open for writing took
}

type way func(w *writer, name string, b []byte) error

// Ways to write a file in place, and to put another in its place.
var (
	inPlace = []way{(*writer).overwrite, (*writer).mapped, (*writer).cutOff, (*writer).truncated, (*writer).slowly}
	another = []way{(*writer).renameOver, (*writer).createAnew}
)

// waysOf are those to write a file.
func waysOf(file int) []way {
	switch {
	case mixed(file):
		return slices.Concat(inPlace, another)
	case !replaced(file):
		return inPlace
	case isSmall(file):
		return another
	}
	return another[:1]
}

// create makes every file, in version 1.
func (w *writer) create() error {
	if err := os.Mkdir(filepath.Join(w.dir, setDir), 0o755); err != nil {
		return err
	}
	for i := range files {
		if err := os.WriteFile(filepath.Join(w.dir, fileName(i)), content(i, 1), 0o644); err != nil {
			return err
		}
		w.board.files[i].writes.Store(1)
		w.board.files[i].wrote()
	}
	return nil
}

// write makes a file's next version, by now and then.
func (w *writer) write() error {
	i := w.rand.IntN(rootFiles)
	if w.rand.IntN(2) == 0 {
		i = rootFiles + w.rand.IntN(setFiles)
	}
	state := &w.board.files[i]
	version := state.complete() + 1
	name, b := filepath.Join(w.dir, fileName(i)), content(i, version)
	if w.rand.IntN(8) == 0 {
		return os.Chmod(name, 0o644|os.FileMode(w.rand.IntN(2))<<4)
	}
	ways := waysOf(i)
	state.writes.Add(1)
	err := ways[w.rand.IntN(len(ways))](w, name, b)
	state.wrote()
	w.writes.Add(1)
	return err
}

func (w *writer) renameOver(name string, b []byte) error {
	return errors.Join(os.WriteFile(name+"~", b, 0o644), os.Rename(name+"~", name))
}

func (w *writer) createAnew(name string, b []byte) error {
	return errors.Join(os.Remove(name), os.WriteFile(name, b, 0o644))
}

// open counts how long the file's readers hold the writer.
func (w *writer) open(name string, flags int) (*os.File, error) {
	began := time.Now()
	f, err := os.OpenFile(name, flags, 0)
	if took := int64(time.Since(began)); took > w.longest.Load() {
		w.longest.Store(took)
	}
	return f, err
}

func (w *writer) overwrite(name string, b []byte) error {
	f, err := w.open(name, os.O_WRONLY)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Truncate(int64(len(b))), f.Close())
}

// slowly lets others open the file while a part of it is written.
func (w *writer) slowly(name string, b []byte) error {
	f, err := w.open(name, os.O_WRONLY)
	if err != nil {
		return err
	}
	_, err = f.Write(b[:len(b)/2])
	time.Sleep(time.Duration(w.rand.Int64N(int64(20 * time.Millisecond))))
	_, err2 := f.WriteAt(b[len(b)/2:], int64(len(b)/2))
	return errors.Join(err, err2, f.Truncate(int64(len(b))), f.Close())
}

func (w *writer) cutOff(name string, b []byte) error {
	f, err := w.open(name, os.O_WRONLY|os.O_TRUNC)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Close())
}

func (w *writer) truncated(name string, b []byte) error {
	if err := os.Truncate(name, 0); err != nil {
		return err
	}
	return w.overwrite(name, b)
}

func (w *writer) mapped(name string, b []byte) error {
	f, err := w.open(name, os.O_RDWR)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Truncate(int64(len(b))); err != nil {
		return err
	}
	m, err := unix.Mmap(int(f.Fd()), 0, len(b), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("mmap %s: %w", name, err)
	}
	copy(m, b)
	return unix.Munmap(m)
}
