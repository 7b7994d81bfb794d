package loader

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"
)

// Making tells how far [Make] is, if its members are set.
type Making struct {
	Started func(files int, size int64) // that are missing; bytes
	Wrote   func(n int64)               // by several goroutines at once
}

const (
	makers    = 4       // files that are written at once
	makePiece = 1 << 20 // bytes a write; a multiple of 8
	perDir    = 1000    // files
)

// Make makes the data set of w below dir, in a directory of the workload's name.
// What is there of it by an earlier call, with the right size, stays. The error
// wraps [ErrNoRoom] if the disk can't hold what is missing.
func Make(ctx context.Context, dir string, w Workload, told Making) (*Set, error) {
	if w.Files > maxFiles {
		return nil, fmt.Errorf("%d files are more than words can tell apart (%d)", w.Files, maxFiles)
	}
	root := filepath.Join(dir, w.Name)
	if err := os.MkdirAll(root, 0o755); err != nil {
		return nil, err
	}
	before, err := ownMark(root, w)
	if err != nil {
		return nil, err
	}
	files := w.files()
	missing, size := missingFiles(root, files)
	if err := checkRoom(root, size, len(missing)); err != nil {
		return nil, err
	}
	if told.Started != nil {
		told.Started(len(missing), size)
	}
	if err := before.write(root); err != nil {
		return nil, err
	}
	if err := writeFiles(ctx, root, w, files, missing, told); err != nil {
		return nil, err
	}
	before.Files = max(before.Files, w.Files)
	if err := before.write(root); err != nil {
		return nil, err
	}
	return newSet(w, root, files, true, before.Files)
}

// ownMark is the mark of a directory that is empty or was made by [Make] for w.
func ownMark(root string, w Workload) (mark, error) {
	m, err := readMark(root)
	switch {
	case err == nil && m.Workload == w.Name:
		return m, nil
	case err == nil:
		return m, fmt.Errorf("%s has a data set of %s; make that of %s elsewhere", root, m.Workload, w.Name)
	case !errors.Is(err, os.ErrNotExist):
		return m, err
	}
	entries, err := os.ReadDir(root)
	if err == nil && len(entries) > 0 {
		err = fmt.Errorf("%s is not empty, and no data set was made there; make it elsewhere", root)
	}
	return mark{Format: markFormat, Workload: w.Name}, err
}

// files are those of a data set that is made.
func (w Workload) files() []File {
	files := make([]File, w.Files)
	for i := range files {
		files[i] = File{Name: fmt.Sprintf("%04d/%07d", i/perDir, i), Size: w.size(i)}
	}
	return files
}

// missingFiles are those that are not there with their size, by number.
func missingFiles(root string, files []File) (missing []int, size int64) {
	for i, f := range files {
		if info, err := os.Lstat(filepath.Join(root, f.Name)); err != nil || !info.Mode().IsRegular() || info.Size() != f.Size {
			missing = append(missing, i)
			size += f.Size
		}
	}
	return missing, size
}

func writeFiles(ctx context.Context, root string, w Workload, files []File, missing []int, told Making) error {
	group, inner := errgroup.WithContext(ctx)
	group.SetLimit(makers)
	for _, i := range missing {
		if inner.Err() != nil {
			break
		}
		group.Go(func() error { return writeFile(inner, filepath.Join(root, files[i].Name), w, i, files[i].Size, told) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return context.Cause(ctx)
}

// writeFile writes a file from its beginning, so that one that was broken off is
// too short.
func writeFile(ctx context.Context, path string, w Workload, file int, size int64, told Making) (err error) {
	f, err := create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	piece := make([]byte, min(makePiece, size))
	for off := int64(0); off < size; off += int64(len(piece)) {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		piece = piece[:min(int64(len(piece)), size-off)]
		w.fill(piece, file, off)
		if _, err := f.Write(piece); err != nil {
			return err
		}
		if told.Wrote != nil {
			told.Wrote(int64(len(piece)))
		}
	}
	return nil
}

// create makes or empties a file, and its directory if need be.
func create(path string) (*os.File, error) {
	f, err := os.Create(path)
	if errors.Is(err, os.ErrNotExist) {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return nil, err
		}
		return os.Create(path)
	}
	return f, err
}
