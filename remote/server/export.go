package server

import (
	"fmt"
	"strings"

	"hbmfs/remote/server/store"
)

// Export is a store, and the dataset name that mounts know it by: one path
// component of 1 to 255 bytes, and not .hbmfs.
type Export struct {
	Name  string
	Store store.Store
}

// ParseExport parses NAME=PATH.
func ParseExport(arg string) (name, path string, err error) {
	name, path, found := strings.Cut(arg, "=")
	if !found || path == "" {
		return "", "", fmt.Errorf("export %q: want NAME=PATH", arg)
	}
	if err := checkExport(name); err != nil {
		return "", "", err
	}
	if strings.IndexByte(path, 0) >= 0 {
		return "", "", fmt.Errorf("export %q: its path has a zero byte", name)
	}
	return name, path, nil
}

func checkExport(name string) error {
	if err := store.CheckName([]byte(name)); err != nil {
		return fmt.Errorf("export %q: bad name: %w", name, err)
	}
	if name == store.Reserved {
		return fmt.Errorf("export %q: a mount needs this name for itself", name)
	}
	return nil
}

// export is an Export that is served.
type export struct {
	Export
	cur  *dataset      // guarded by Server.mu
	done chan struct{} // closed when nobody follows it any more
}

func (e Export) open() (*export, error) {
	if err := checkExport(e.Name); err != nil {
		return nil, err
	}
	tree, err := e.Store.Open()
	if err != nil {
		return nil, fmt.Errorf("export %q: %w", e.Name, err)
	}
	return &export{Export: e, cur: &dataset{name: e.Name, info: tree.Info(), tree: tree}, done: make(chan struct{})}, nil
}
