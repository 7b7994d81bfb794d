package logfile

import (
	"strings"
	"testing"
)

func TestEscapePath(t *testing.T) {
	for in, want := range map[string]string{
		"/mnt/data":   "mnt-data",
		"/mnt-data":   `mnt\x2ddata`,
		"/":           "-",
		"/.a/b c":     `\x2ea-b\x20c`,
		"/\xff/x_y:z": `\xff-x_y:z`,
	} {
		if got := escapePath(in); got != want {
			t.Errorf("escapePath(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestEscapePathBoundsItsLength(t *testing.T) {
	a := escapePath("/a/" + strings.Repeat("-", 1000))
	b := escapePath("/b/" + strings.Repeat("-", 1000))
	if len(a) > 220 || a == b {
		t.Errorf("names of %d and %d bytes, equal: %v", len(a), len(b), a == b)
	}
}
