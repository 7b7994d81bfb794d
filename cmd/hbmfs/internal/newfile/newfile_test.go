package newfile

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// TestPlotFile: there is a whole plot, or what was there before, and nothing beside;
// and a device stays one.
func TestPlotFile(t *testing.T) {
	dir, failed := t.TempDir(), errors.New("no space")
	plot := func(text string, err error) func(io.Writer) error {
		return func(w io.Writer) error {
			_, _ = io.WriteString(w, text)
			return err
		}
	}
	path, link := filepath.Join(dir, "a.svg"), filepath.Join(dir, "link")
	if err := os.Symlink("a.svg", link); err != nil {
		t.Fatal(err)
	}
	check := func(want string) {
		t.Helper()
		entries, _ := os.ReadDir(dir)
		if text, _ := os.ReadFile(path); string(text) != want || len(entries) > 2 || want == "" && len(entries) > 1 {
			t.Errorf("it holds %q, want %q; there are %v", text, want, entries)
		}
	}
	for _, c := range []struct {
		to, text string
		err      error
		want     string
	}{
		{path, "half", failed, ""},
		{path, "whole", nil, "whole"},
		{path, "half", failed, "whole"},
		{link, "linked", nil, "linked"},
		{os.DevNull, "x", nil, "linked"},
	} {
		p, err := New(c.to)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Write(plot(c.text, c.err)); !errors.Is(err, c.err) {
			t.Errorf("%s: %v, want %v", c.to, err, c.err)
		}
		check(c.want)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link is %v, %v", info, err)
	}
	if info, err := os.Stat(os.DevNull); err != nil || info.Mode().IsRegular() {
		t.Errorf("%s is %v, %v", os.DevNull, info, err)
	}
	if _, err := New(filepath.Join(dir, "none", "x")); err == nil {
		t.Error("a directory that is not there is no error")
	}
	if _, err := New(dir); err == nil {
		t.Error("a directory is no error")
	}
}
