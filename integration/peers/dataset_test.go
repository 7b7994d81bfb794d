package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"hbmfs/integration/peers/load"
)

func TestDatasetIsWritten(t *testing.T) {
	d := dataset{dir: filepath.Join(t.TempDir(), "d"), files: 20}
	if err := d.write(t.Context(), d.dir); err != nil {
		t.Fatal(err)
	}
	var sum int64
	for i := range d.files {
		got, err := os.ReadFile(filepath.Join(d.dir, load.Name(i)))
		if err != nil || !bytes.Equal(got, taggedFile(i)) {
			t.Errorf("file %d: %d bytes, error %v; want %d", i, len(got), err, load.Size(i))
		}
		if bytes.Equal(got[:8], taggedFile(i + 1)[:8]) {
			t.Errorf("files %d and %d begin alike", i, i+1)
		}
		sum += int64(len(got))
	}
	if d.size() != sum {
		t.Errorf("size %d, want %d", d.size(), sum)
	}
	if err := d.warm(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestLoaderFilesInRoom(t *testing.T) {
	whole := dataset{files: loaderFiles}.needs()
	for _, c := range []struct {
		room  int64
		quick bool
		want  int
	}{
		{whole, false, loaderFiles}, {whole - 1, false, loaderFiles / 2}, {whole, true, quickFiles}, {0, false, leastFiles},
	} {
		if got := loaderFilesIn(c.room, c.quick); got != c.want {
			t.Errorf("%d MiB, quick %v: %d files, want %d", c.room>>20, c.quick, got, c.want)
		}
	}
}
