// Command hbmfs serves datasets, mounts them, and reads their files through the
// device-memory path.
//
// It owns the command line: flags, exit codes, output for people and for
// scripts, the daemon's start and end. It only wires the other packages
// together; no byte of a file passes through a decision made here. It holds no
// lock.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/grpclog"

	"hbmfs/cmd/hbmfs/internal/mounts"
	"hbmfs/cmd/hbmfs/internal/supervise"
	"hbmfs/fs"
	"hbmfs/fs/client"
	"hbmfs/transport"
)

// Exit codes, as `hbmfs --help` lists them.
const (
	exitOK = iota
	exitFailure
	exitUsage
	exitMismatch
	exitTransport
	exitNotMount
	exitBusy
)

var (
	// errUsage: the command line is wrong.
	errUsage = errors.New("usage")
	// errMismatch: device memory does not hold what the target has.
	errMismatch = errors.New("mismatch")
	// errBusy: the mount is in use.
	errBusy = errors.New("mount is busy")
)

// usualPath is for what mount(8) starts: it takes PATH out of the environment.
const usualPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

func main() {
	fs.RunIfBinder()
	mounts.RunIfHelper()
	// What gRPC says of itself is for those who work on it.
	grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, io.Discard))
	if os.Getenv("PATH") == "" {
		os.Setenv("PATH", usualPath)
	}
	ctx := supervise.ProgramContext()
	if name := filepath.Base(os.Args[0]); isMountHelper(name) {
		os.Exit(mountHelperCode(ctx, execute(ctx, newMountHelper(name), os.Args[1:], os.Stdout, os.Stderr)))
	}
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run executes one command line and returns its exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	return execute(ctx, newRootCommand(), args, stdout, stderr)
}

func execute(ctx context.Context, root *cobra.Command, args []string, stdout, stderr io.Writer) int {
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	code := exitCode(err)
	if err != nil && err.Error() != "" {
		complain(stderr, err)
	}
	if code == exitUsage && err.Error() != "" { // else the child has told it
		fmt.Fprintf(stderr, "Try '%s --help'.\n", cmd.CommandPath())
	}
	return code
}

// complain tells of an error, whose text may begin with the program's name.
func complain(stderr io.Writer, err error) {
	text := strings.TrimPrefix(strings.TrimSpace(err.Error()), "hbmfs: ")
	if errors.Is(err, unix.ENOTCONN) && !strings.Contains(text, "hbmfs umount") {
		text += ": the daemon of that mount is gone; 'hbmfs umount MOUNTPOINT' cleans up"
	}
	fmt.Fprintf(stderr, "hbmfs: %s\n", shownText(text))
}

func exitCode(err error) int {
	var daemon daemonError
	var ended supervise.EndedError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &daemon):
		return daemon.Code
	case errors.As(err, &ended):
		return ended.Code
	case errors.Is(err, errUsage):
		return exitUsage
	case errors.Is(err, errMismatch):
		return exitMismatch
	case errors.Is(err, transport.ErrUnavailable), errors.Is(err, unix.EREMOTEIO):
		return exitTransport
	case errors.Is(err, client.ErrNotHBMFS):
		return exitNotMount
	case errors.Is(err, errBusy):
		return exitBusy
	}
	return exitFailure
}

// usageError is about the command line itself. Its text stands alone.
type usageError struct{ text string }

func (e usageError) Error() string { return e.text }
func (usageError) Unwrap() error   { return errUsage }

func usagef(format string, args ...any) error {
	return usageError{fmt.Sprintf(format, args...)}
}
