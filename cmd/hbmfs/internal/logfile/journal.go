package logfile

import (
	"fmt"
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// journalSocket is where systemd's journal takes the output of programs.
const journalSocket = "/run/systemd/journal/stdout"

// openJournal opens a stream into the journal. It begins with what systemd-cat(1)
// sends: an identifier, no unit, the priority, and that nothing is to be parsed
// or forwarded.
func openJournal(socket string) (*os.File, error) {
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "hbmfs\n\n6\n0\n0\n0\n0\n"); err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	f, err := conn.File()
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	defer f.Close()
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	return os.NewFile(uintptr(fd), "in the journal (journalctl -t hbmfs)"), nil
}
