package mounts

import (
	"bufio"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
)

// listeningNames returns the abstract Unix sockets of this network name space that
// somebody listens on and that begin with prefix, the highest first.
func listeningNames(prefix string) ([]string, error) {
	f, err := os.Open("/proc/net/unix")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return parseUnixSockets(f, prefix)
}

// parseUnixSockets reads /proc/net/unix, which proc_pid_net(5) describes. A name may
// have anything in it, line feeds too, so that a line proves nothing.
func parseUnixSockets(r io.Reader, prefix string) ([]string, error) {
	const (
		flagsField, nameField = 3, 7
		acceptCon             = 1 << 16 // __SO_ACCEPTCON
	)
	var names []string
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) != nameField+1 || !strings.HasPrefix(f[nameField], prefix) {
			continue
		}
		if flags, err := strconv.ParseUint(f[flagsField], 16, 32); err == nil && flags&acceptCon != 0 {
			names = append(names, f[nameField])
		}
	}
	slices.Sort(names)
	slices.Reverse(names)
	return slices.Compact(names), lines.Err()
}
