package loader

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// A mark is a file in the directory of a data set that [Make] made.
const (
	markName   = ".hbmfs-loader.json"
	markFormat = 1
)

type mark struct {
	Format   int    `json:"format"`
	Workload string `json:"workload"`
	Files    int    `json:"files"` // that are all there; 0: it is being made
}

// readMark reads the mark of a directory. The error wraps [os.ErrNotExist] if there
// is none.
func readMark(dir string) (m mark, err error) {
	path := filepath.Join(dir, markName)
	text, err := os.ReadFile(path)
	if err != nil {
		return m, err
	}
	return m, m.parse(text, path)
}

func (m *mark) parse(text []byte, path string) error {
	if err := json.Unmarshal(text, m); err != nil {
		return fmt.Errorf("%s is damaged (%w); delete %s, and make the data set anew", path, err, filepath.Dir(path))
	}
	if m.Format != markFormat || m.Files < 0 || m.Files > maxFiles {
		return fmt.Errorf("%s: format %d, %d files: it is of another version of hbmfs, or damaged; delete %s, and make the data set anew", path, m.Format, m.Files, filepath.Dir(path))
	}
	return nil
}

func (m *mark) write(dir string) error {
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, markName), append(text, '\n'), 0o644)
}
