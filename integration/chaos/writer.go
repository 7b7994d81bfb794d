package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

func fileName(file int) string { return fmt.Sprintf("file-%02d", file) }

// writer changes files, one at a time, in every way there is.
type writer struct {
	board *board
	dir   string
	rand  *rand.Rand

	writes  atomic.Int64
	longest atomic.Int64 // that an open for writing took
}

// ways to write a file in place.
var ways = []func(w *writer, name string, b []byte) error{
	(*writer).overwrite, (*writer).mapped, (*writer).cutOff, (*writer).truncated,
}

// create makes every file, in version 1.
func (w *writer) create() error {
	for i := range files {
		if err := os.WriteFile(filepath.Join(w.dir, fileName(i)), content(i, 1), 0o644); err != nil {
			return err
		}
		w.board.files[i].writes.Store(2)
	}
	return nil
}

// write makes a file's next version, by now and then.
func (w *writer) write() error {
	i := w.rand.IntN(files)
	state := &w.board.files[i]
	version := state.complete() + 1
	name, b := filepath.Join(w.dir, fileName(i)), content(i, version)
	state.writes.Add(1)
	var err error
	if replaced(i) {
		err = errors.Join(os.WriteFile(name+"~", b, 0o644), os.Rename(name+"~", name))
	} else {
		err = ways[w.rand.IntN(len(ways))](w, name, b)
	}
	state.writes.Add(1)
	w.writes.Add(1)
	return err
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
	return errors.Join(err, f.Close())
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
	m, err := unix.Mmap(int(f.Fd()), 0, len(b), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("mmap %s: %w", name, err)
	}
	copy(m, b)
	return unix.Munmap(m)
}
