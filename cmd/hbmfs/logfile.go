package main

import (
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
)

// logPath is where the background daemon of a mount writes its log.
func logPath(place string) (string, error) {
	name := escapePath(place) + ".log"
	if os.Geteuid() == 0 {
		return "/var/log/hbmfs-" + name, nil
	}
	state := os.Getenv("XDG_STATE_HOME")
	if !filepath.IsAbs(state) {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("find a place for the log: %w; set XDG_STATE_HOME", err)
		}
		state = filepath.Join(home, ".local", "state")
	}
	return filepath.Join(state, "hbmfs", name), nil
}

// openLog opens the log of a mount's daemon for appending.
func openLog(place string) (*os.File, error) {
	path, err := logPath(place)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("log: %w", err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("log: %w", err)
	}
	return f, nil
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
