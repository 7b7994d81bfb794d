package tagged

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	const size = 1<<20 + 24
	if err := Write(t.Context(), path, 7, size); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil || len(got) != size {
		t.Fatalf("%d bytes, error %v; want %d", len(got), err, size)
	}
	last := make([]byte, 8)
	Fill(last, 7, size-8)
	if !slices.Equal(got[size-8:], last) || slices.Equal(got[:8], last) {
		t.Errorf("last word %x, first %x; want the last to be %x", got[size-8:], got[:8], last)
	}
}
