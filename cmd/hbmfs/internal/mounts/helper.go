package mounts

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A question that the kernel may never answer is asked by a process of its own,
// which is left behind if it takes too long.

// helperEnv names the helper that a re-executed hbmfs is.
const helperEnv = "HBMFS_HELPER"

// helperWait is how long a helper may take.
const helperWait = 2 * time.Second

// errNoAnswer: a helper took too long.
var errNoAnswer = errors.New("no answer")

var helpers = map[string]func(args []string, out io.Writer) error{
	"statfs": statfsHelper,
	"users":  usersHelper,
}

// RunIfHelper does what this process is for if it is a helper, and ends it. A
// program that asks about mounts calls it first.
func RunIfHelper() {
	name := os.Getenv(helperEnv)
	if name == "" {
		return
	}
	help, ok := helpers[name]
	if !ok {
		fmt.Fprintf(os.Stderr, "hbmfs: %s=%s: there is no such helper; unset it\n", helperEnv, name)
		os.Exit(2)
	}
	if err := help(os.Args[1:], os.Stdout); err != nil {
		os.Exit(1)
	}
	os.Exit(0)
}

// ask returns what a helper says, or [errNoAnswer].
func ask(name string, args ...string) (string, error) {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), helperEnv+"="+name)
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		return "", err
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	select {
	case err := <-done:
		return out.String(), err
	case <-time.After(helperWait):
		_ = cmd.Process.Kill()
		return "", errNoAnswer
	}
}

// IsDead reports whether the daemon behind the mount at place is gone: statfs is
// answered by no cache of the kernel's. A mount that does not answer at all is
// not dead.
func IsDead(place string) bool {
	answer, err := ask("statfs", place)
	return err == nil && (answer == unix.ErrnoName(unix.ENOTCONN) || answer == unix.ErrnoName(unix.ECONNABORTED))
}

// KeptOut reports whether the kernel does not ask the daemon behind the mount at
// place for this user, root included, so that nothing can be told of it.
func KeptOut(place string) bool {
	answer, err := ask("statfs", place)
	return err == nil && answer == notAsked
}

// notAsked stands for the empty answer of the kernel to those who may not use a
// FUSE mount.
const notAsked = "not asked"

// statfsHelper says the name of the errno that statfs answers, if any, or
// [notAsked].
func statfsHelper(args []string, out io.Writer) error {
	var st unix.Statfs_t
	err := unix.Statfs(args[0], &st)
	if errno, ok := errors.AsType[unix.Errno](err); ok {
		fmt.Fprint(out, unix.ErrnoName(errno))
	} else if st.Bsize == 0 && st.Namelen == 0 {
		fmt.Fprint(out, notAsked)
	}
	return nil
}

// Users names processes, but for the daemon, that have the mount at place
// open, as far as this user may see: at most a few, such as "bash (pid 71)".
func Users(place string, daemon int) []string {
	answer, err := ask("users", place, fmt.Sprint(daemon), fmt.Sprint(os.Getpid()))
	if err != nil || answer == "" {
		return nil
	}
	return strings.Split(answer, "\n")
}
