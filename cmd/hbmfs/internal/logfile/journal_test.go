package logfile

import (
	"fmt"
	"io"
	"net"
	"path/filepath"
	"testing"
)

// TestJournal: what is written comes after systemd's header, a value a line.
func TestJournal(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "stdout")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	f, err := openJournal(socket)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(f, "hello")
	f.Close()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got, err := io.ReadAll(c); err != nil || string(got) != "hbmfs\n\n6\n0\n0\n0\n0\nhello\n" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestNoJournal(t *testing.T) {
	if f, err := openJournal(filepath.Join(t.TempDir(), "none")); err == nil {
		f.Close()
		t.Error("a journal that is not there was opened")
	}
}
