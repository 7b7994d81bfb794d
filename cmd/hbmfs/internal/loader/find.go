package loader

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Find is the data set for w at place: one that [Make] made, there or in a
// directory of the workload's name, or else whatever files lie below place, in the
// order of their names. scale is the part to take: of the workload's files, as
// [Workload.Scaled] has it, if there are as many; of others, of those that are there.
// The error wraps [ErrNoSet] if there is none.
func Find(ctx context.Context, place string, w Workload, scale float64) (*Set, error) {
	for _, dir := range []string{filepath.Join(place, w.Name), place} {
		m, err := readMark(dir)
		switch {
		case errors.Is(err, os.ErrNotExist):
			continue
		case err != nil:
			return nil, err
		case m.Workload != w.Name:
			return nil, fmt.Errorf("%w of %s: %s has one of %s", ErrNoSet, w.Name, dir, m.Workload)
		case m.Files == 0:
			return nil, fmt.Errorf("%w of %s: that in %s is not finished; make it with --make", ErrNoSet, w.Name, dir)
		}
		w.Files = min(w.Scaled(scale).Files, m.Files)
		return newSet(w, dir, w.files(), true, m.Files)
	}
	files, err := foreignFiles(ctx, place, w)
	if err != nil {
		return nil, err
	}
	found := len(files)
	w.Files = found
	w.Files = min(w.Scaled(scale).Files, found)
	return newSet(w, place, files[:w.Files], false, found)
}

// foreignFiles are the files below place that have a sample.
func foreignFiles(ctx context.Context, place string, w Workload) (files []File, err error) {
	err = filepath.WalkDir(place, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case strings.HasPrefix(entry.Name(), ".") && path != place:
			return skipHidden(entry)
		case !entry.Type().IsRegular():
			return nil
		}
		info, err := entry.Info()
		if err == nil && w.samples(info.Size()) > 0 {
			name, _ := filepath.Rel(place, path) // which is below it
			files = append(files, File{Name: name, Size: info.Size()})
		}
		return err
	})
	return files, err
}

func skipHidden(entry fs.DirEntry) error {
	if entry.IsDir() {
		return fs.SkipDir
	}
	return nil
}
