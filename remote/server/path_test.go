package server

import (
	"errors"
	"io"
	"strconv"
	"strings"
	"testing"
)

func itoa(n int) string { return strconv.Itoa(n) }

func isEOF(err error) bool { return errors.Is(err, io.EOF) }

func TestParseExport(t *testing.T) {
	for _, c := range []struct {
		arg        string
		name, path string
		ok         bool
	}{
		{"a=/b", "a", "/b", true},
		{"a=b=c", "a", "b=c", true},
		{"\xff=/b", "\xff", "/b", true},
		{"a", "", "", false},
		{"a=", "", "", false},
		{"=/b", "", "", false},
		{"..=/b", "", "", false},
		{".hbmfs=/b", "", "", false},
		{"a/b=/b", "", "", false},
		{strings.Repeat("n", 256) + "=/b", "", "", false},
		{"a=/b\x00", "", "", false},
	} {
		name, path, err := ParseExport(c.arg)
		if name != c.name || path != c.path || (err == nil) != c.ok {
			t.Errorf("%q: %q, %q, %v", c.arg, name, path, err)
		}
	}
}

func FuzzParseExport(f *testing.F) {
	f.Add("data=/srv/data")
	f.Add("=\x00/..")
	f.Fuzz(func(t *testing.T, arg string) {
		name, path, err := ParseExport(arg)
		if err == nil && (name+"="+path != arg || checkExport(name) != nil) {
			t.Errorf("%q became %q and %q", arg, name, path)
		}
	})
}
