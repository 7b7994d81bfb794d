package dir

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"hbmfs/remote/server/store"
	"hbmfs/remote/server/store/storetest"
)

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T) (store.Store, storetest.Storage) {
		path := filepath.Join(t.TempDir(), "live")
		if err := os.Mkdir(path, 0o755); err != nil {
			t.Fatal(err)
		}
		return newFiles(t).Store(path, nil), directory(path)
	})
}

// directory is the storage of a [Store].
type directory string

func (d directory) Put(path string, content []byte) error {
	full := filepath.Join(string(d), path)
	return errors.Join(os.MkdirAll(filepath.Dir(full), 0o755), os.WriteFile(full, content, 0o644))
}

func (d directory) Change(path string, content []byte) error {
	w, err := os.OpenFile(filepath.Join(string(d), path), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = w.WriteAt(content, 0)
	return errors.Join(err, w.Close())
}

func (d directory) Remove(path string) error { return os.Remove(filepath.Join(string(d), path)) }

func (d directory) Replace() error {
	return errors.Join(os.Rename(string(d), string(d)+".old"), os.Mkdir(string(d), 0o755))
}
