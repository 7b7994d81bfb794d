package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestParseSource(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	if err := os.MkdirAll("data/sub", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("data/sub", "deep"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("data", "link"); err != nil {
		t.Fatal(err)
	}
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		t.Fatal(err)
	}
	for in, want := range map[string]source{
		"node7:7070/train":     {addr: "node7:7070", dataset: "train"},
		"node7:7070":           {addr: "node7:7070"},
		"node7:7070/":          {addr: "node7:7070"},
		"[::1]:7070/a":         {addr: "[::1]:7070", dataset: "a"},
		"127.0.0.1:65535/x y":  {addr: "127.0.0.1:65535", dataset: "x y"},
		dir:                    {path: real, named: dir},
		".":                    {path: real, named: dir},
		"./data/../data":       {path: filepath.Join(real, "data"), named: filepath.Join(real, "data")},
		"link":                 {path: filepath.Join(real, "data"), named: filepath.Join(dir, "link")},
		dir + "/deep/../sub":   {path: filepath.Join(real, "data/sub"), named: filepath.Join(real, "data/sub")},
		"./deep/../../link":    {path: filepath.Join(real, "data"), named: filepath.Join(real, "link")},
		filepath.Join(dir, ""): {path: real, named: dir},
	} {
		if got, err := parseSource(in); err != nil || got != want {
			t.Errorf("parseSource(%q) = %+v, %v; want %+v", in, got, err, want)
		}
	}
}

func TestParseSourceRefuses(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, in := range []string{"", "node7", "node7/train", ":7070/x", "node7:0", "node7:65536", "node7:http/x", "::1:7070", "./missing"} {
		if got, err := parseSource(in); err == nil {
			t.Errorf("parseSource(%q) = %+v; want an error", in, got)
		}
	}
}

// TestSourceFollowed: a link is followed when it is switched, unless the mount
// covers it.
func TestSourceFollowed(t *testing.T) {
	src := source{path: "/data/v1", named: "/data/live"}
	for mountpoint, want := range map[string]string{"/mnt": "/data/live", "/data": "/data/v1"} {
		if got := src.followed(mountpoint); got != want {
			t.Errorf("on %s: %s, want %s", mountpoint, got, want)
		}
	}
}

func TestSourceOutsideOfMountpoint(t *testing.T) {
	for _, c := range []struct {
		path, mountpoint string
		refused          bool
	}{
		{"/data", "/data", true},
		{"/data/a", "/data", true},
		{"/data", "/data/mnt", false},
		{"/data2", "/data", false},
		{"/..data", "/", true},
	} {
		err := source{path: c.path}.checkOutside(c.mountpoint)
		if (err != nil) != c.refused {
			t.Errorf("source %s on %s: %v; refused should be %v", c.path, c.mountpoint, err, c.refused)
		}
	}
}

func FuzzParseSource(f *testing.F) {
	for _, s := range []string{"a:1/b", "[::1]:7070", "/", "x", "a:1//"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		src, err := parseSource(s)
		if err == nil && (src.addr == "") == (src.path == "") {
			t.Fatalf("parseSource(%q) = %+v: neither or both of a target and a path", s, src)
		}
	})
}
