package target

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"hbmfs/remote/wire"
)

// reserved is the name of the mount's own directory in its root.
const reserved = ".hbmfs"

// maxName is the longest name that a Linux file system takes, in bytes.
const maxName = unix.NAME_MAX

// Export is a directory, regular file or read-only block device, and the
// dataset name that mounts know it by.
type Export struct {
	Name string
	Path string
}

// ParseExport parses NAME=PATH. NAME is one path component of 1 to 255 bytes,
// and not .hbmfs.
func ParseExport(arg string) (Export, error) {
	name, path, found := strings.Cut(arg, "=")
	if !found || path == "" {
		return Export{}, fmt.Errorf("export %q: want NAME=PATH", arg)
	}
	e := Export{Name: name, Path: path}
	if err := e.check(); err != nil {
		return Export{}, err
	}
	return e, nil
}

func (e Export) check() error {
	if err := checkName(e.Name); err != nil {
		return fmt.Errorf("export %q: bad name: %w", e.Name, err)
	}
	if e.Name == reserved {
		return fmt.Errorf("export %q: a mount needs this name for itself", e.Name)
	}
	if strings.IndexByte(e.Path, 0) >= 0 {
		return fmt.Errorf("export %q: its path has a zero byte", e.Name)
	}
	return nil
}

// dataset is an open export.
type dataset struct {
	name string
	kind wire.Dataset_Kind
	root int    // O_PATH: the exported directory, or the one that base is in
	base string // FILE and BLOCK_DEVICE: the one name that is served
}

// openExport opens e. The descriptor outlives renames of the path.
func openExport(e Export) (*dataset, error) {
	if err := e.check(); err != nil {
		return nil, err
	}
	path, err := filepath.EvalSymlinks(e.Path)
	if err == nil {
		path, err = filepath.Abs(path)
	}
	if err != nil {
		return nil, fmt.Errorf("export %q of %s: %w", e.Name, e.Path, err)
	}
	d, err := newDataset(e.Name, path)
	if err != nil {
		return nil, fmt.Errorf("export %q of %s: %w", e.Name, e.Path, err)
	}
	return d, nil
}

func newDataset(name, path string) (*dataset, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	d := &dataset{name: name}
	dir := path
	switch mode := info.Mode(); {
	case mode.IsDir():
		d.kind = wire.Dataset_DIRECTORY
	case mode.IsRegular():
		d.kind = wire.Dataset_FILE
	case mode.Type() == os.ModeDevice:
		d.kind = wire.Dataset_BLOCK_DEVICE
	default:
		return nil, fmt.Errorf("%s is neither a directory, a regular file nor a block device", path)
	}
	if d.kind != wire.Dataset_DIRECTORY {
		dir, d.base = filepath.Split(path)
		if d.base == reserved {
			return nil, fmt.Errorf("%s: a mount needs the name %s for itself", path, reserved)
		}
	}
	if d.root, err = unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
		return nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	if err := d.probe(); err != nil {
		d.close()
		return nil, err
	}
	return d, nil
}

// probe tries what every request will do, so that a bad export fails at start.
func (d *dataset) probe() error {
	fd, err := d.openPath([]byte(d.base))
	if errors.Is(err, unix.ENOSYS) {
		return errors.New("this kernel has no openat2: Linux 5.6 or later is needed")
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if _, err := os.Stat(procFD); err != nil {
		return fmt.Errorf("files are opened through /proc, which is not mounted: %w", err)
	}
	_, err = d.attr(fd)
	return err
}

func (d *dataset) close() { unix.Close(d.root) }

// checkReserved refuses a tree that has the mount's own name in its root.
func (d *dataset) checkReserved() error {
	if d.kind != wire.Dataset_DIRECTORY {
		return nil
	}
	fd, err := d.openPath([]byte(reserved))
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err == nil {
		unix.Close(fd)
	}
	return fmt.Errorf("dataset %q has an entry named %s, which a mount needs for itself: rename it, or export a directory without it", d.name, reserved)
}
