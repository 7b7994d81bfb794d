// Package logfile says where the background daemon of a mount logs to, and opens
// that.
//
// It writes nothing there, and removes nothing. It holds no lock.
package logfile

import (
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strings"

	"hbmfs/transport/printable"
)

// Open opens what the background daemon of a mount logs to: the file that was
// asked for, or else the first that there is of the usual place, the user's state
// directory and the journal, or else nothing. If it is not the usual place, it
// says so on stderr. Only the wish for a file can fail. The caller closes it.
func Open(asked, place string, stderr io.Writer) (*os.File, error) {
	if asked != "" {
		return openAskedLog(asked)
	}
	var refused []string
	for _, open := range logPlaces(escapePath(place) + ".log") {
		f, err := open()
		if err != nil {
			refused = append(refused, err.Error())
			continue
		}
		if len(refused) > 0 {
			fmt.Fprintf(stderr, "hbmfs: the log is %s, since %s\n", printable.Line(f.Name(), printable.MaxName), printable.Line(strings.Join(refused, "; "), printable.MaxText))
		}
		return f, nil
	}
	fmt.Fprintf(stderr, "hbmfs: no log is kept: %s; --log FILE says where to keep one\n", printable.Line(strings.Join(refused, "; "), printable.MaxText))
	return os.OpenFile(os.DevNull, os.O_WRONLY, 0)
}

func openAskedLog(path string) (*os.File, error) {
	f, err := openLogFile(path)
	if err != nil {
		return nil, fmt.Errorf("--log: %w", err)
	}
	return f, nil
}

// logPlaces are the places for a log file of that name, best first.
func logPlaces(name string) []func() (*os.File, error) {
	var places []func() (*os.File, error)
	if os.Geteuid() == 0 {
		places = append(places, func() (*os.File, error) { return openLogFile("/var/log/hbmfs-" + name) })
	}
	return append(places, func() (*os.File, error) { return openStateLog(name) },
		func() (*os.File, error) { return openJournal(journalSocket) })
}

func openLogFile(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
}

// openStateLog opens a log in the user's state directory (XDG base directories).
func openStateLog(name string) (*os.File, error) {
	state := os.Getenv("XDG_STATE_HOME")
	if !filepath.IsAbs(state) {
		home, err := os.UserHomeDir()
		if err != nil {
			return nil, fmt.Errorf("XDG_STATE_HOME is not set, and %w", err)
		}
		state = filepath.Join(home, ".local", "state")
	}
	dir := filepath.Join(state, "hbmfs")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return openLogFile(filepath.Join(dir, name))
}

// escapePath makes one file name of an absolute path, as systemd-escape(1)
// does: "/" becomes "-", and what is not plain becomes \xNN. A name that would
// be too long keeps its end and a checksum of all of it.
func escapePath(path string) string {
	const longest = 200
	var b strings.Builder
	for _, c := range []byte(strings.Trim(path, "/")) {
		switch {
		case c == '/':
			b.WriteByte('-')
		case isPlain(c) && (c != '.' || b.Len() > 0):
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, `\x%02x`, c)
		}
	}
	name := b.String()
	if len(name) > longest {
		name = fmt.Sprintf("%08x-%s", crc32.ChecksumIEEE([]byte(path)), name[len(name)-longest:])
	}
	if name == "" {
		return "-"
	}
	return name
}

func isPlain(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("_.:", c) >= 0
}
