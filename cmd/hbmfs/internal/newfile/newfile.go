// Package newfile writes files that are there whole, or as they were.
package newfile

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// File is one to be written.
type File struct {
	path   string // without symbolic links; empty if none is asked for
	inside bool   // it is no regular file, and is written to as it is
}

// New finds out whether path can be written, before all the work is done
// for it. It leaves nothing there.
func New(path string) (File, error) {
	p := File{path: path}
	if path == "" {
		return p, nil
	}
	if resolved, err := filepath.EvalSymlinks(path); err == nil {
		p.path = resolved
	}
	info, err := os.Stat(p.path)
	switch p.inside = err == nil && !info.Mode().IsRegular(); {
	case p.inside && info.IsDir():
		return p, fmt.Errorf("%s is a directory", p.path)
	case p.inside: // a second open of a pipe would be its end
		return p, nil
	}
	f, err := p.create()
	if err != nil {
		return p, err
	}
	return p, errors.Join(f.Close(), os.Remove(f.Name()))
}

// create creates a file beside.
func (p File) create() (*os.File, error) {
	name := fmt.Sprintf("%s.%d.tmp", p.path, os.Getpid())
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return nil, err
	}
	return f, nil
}

// Write has content written, in the place of what is there.
func (p File) Write(content func(io.Writer) error) error {
	if p.path == "" {
		return nil
	}
	if p.inside {
		f, err := os.OpenFile(p.path, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		return errors.Join(content(f), f.Close())
	}
	f, err := p.create()
	if err != nil {
		return err
	}
	err = errors.Join(content(f), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), p.path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
