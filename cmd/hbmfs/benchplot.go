package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// plotFile is the file of --svg, which is there whole, or as it was before.
type plotFile struct {
	path   string // without symbolic links; empty if none is asked for
	inside bool   // it is no regular file, and is written to as it is
}

// newPlotFile finds out whether path can be written, before all the work is done
// for it. It leaves nothing there.
func newPlotFile(path string) (plotFile, error) {
	p := plotFile{path: path}
	if path == "" {
		return p, nil
	}
	if resolved, err := filepath.EvalSymlinks(path); err == nil {
		p.path = resolved
	}
	info, err := os.Stat(p.path)
	switch p.inside = err == nil && !info.Mode().IsRegular(); {
	case p.inside && info.IsDir():
		return p, fmt.Errorf("--svg: %s is a directory", p.path)
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
func (p plotFile) create() (*os.File, error) {
	name := fmt.Sprintf("%s.%d.tmp", p.path, os.Getpid())
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return nil, fmt.Errorf("--svg: %w", err)
	}
	return f, nil
}

func (p plotFile) write(plot func(io.Writer) error) error {
	if p.path == "" {
		return nil
	}
	if p.inside {
		f, err := os.OpenFile(p.path, os.O_WRONLY, 0)
		if err != nil {
			return fmt.Errorf("--svg: %w", err)
		}
		return errors.Join(plot(f), f.Close())
	}
	f, err := p.create()
	if err != nil {
		return err
	}
	err = errors.Join(plot(f), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), p.path)
	}
	if err != nil {
		return fmt.Errorf("--svg: %w", errors.Join(err, os.Remove(f.Name())))
	}
	return nil
}
