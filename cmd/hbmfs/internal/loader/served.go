package loader

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Served is a mount of a directory that this process has started, and that ends
// with it.
type Served struct {
	Place string // where it is mounted
	cmd   *exec.Cmd
	log   bytes.Buffer
	ended chan struct{} // closed when cmd has ended
}

// endWait is how long a mount that is told to end may take.
const endWait = 15 * time.Second

// Serve mounts dir at place with this program, and returns when the mount answers.
// The calling goroutine is locked to its thread, since the mount ends with that.
func Serve(ctx context.Context, dir, place string, flags ...string) (*Served, error) {
	args := append([]string{"mount", "--foreground"}, flags...)
	s := &Served{Place: place, ended: make(chan struct{})}
	s.cmd = exec.Command("/proc/self/exe", append(args, dir, place)...)
	s.cmd.Args[0] = "hbmfs"
	s.cmd.Stderr = &s.log
	// Of a terminal's Ctrl-C it learns by Close, once nobody uses it.
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: unix.SIGTERM}
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start a mount: %w", err)
	}
	mounted := make(chan bool, 1)
	go func() {
		defer close(s.ended)
		lines := bufio.NewScanner(stdout)
		mounted <- lines.Scan()
		for lines.Scan() {
			continue
		}
		_ = s.cmd.Wait() // ProcessState tells
	}()
	select {
	case ok := <-mounted:
		if ok {
			return s, nil
		}
		<-s.ended
		return nil, fmt.Errorf("mount %s: %s", dir, strings.TrimSpace(s.log.String()))
	case <-ctx.Done():
		return nil, errors.Join(context.Cause(ctx), s.Close())
	}
}

// Close unmounts, and returns once the mount has ended.
func (s *Served) Close() error {
	_ = s.cmd.Process.Signal(unix.SIGTERM) // it may have ended
	select {
	case <-s.ended:
	case <-time.After(endWait):
		return fmt.Errorf("the mount at %s (pid %d) does not end; 'hbmfs umount %s' takes it away", s.Place, s.cmd.Process.Pid, s.Place)
	}
	if !s.cmd.ProcessState.Success() {
		return fmt.Errorf("the mount at %s ended with %v: %s", s.Place, s.cmd.ProcessState, strings.TrimSpace(s.log.String()))
	}
	return os.Remove(s.Place)
}

// ServeEach mounts dir once for each name, at places of these names in a directory
// of their own. What it has mounted is returned with an error, too.
func ServeEach(ctx context.Context, dir string, names []string, flags ...string) (ServedAll, error) {
	sweepPlaces(WayNames(Ways))
	base, lock, err := makePlaces()
	if err != nil {
		return ServedAll{}, err
	}
	all := ServedAll{base: base, lock: lock}
	for _, name := range names {
		place := filepath.Join(base, name)
		if err := os.Mkdir(place, 0o700); err != nil {
			return all, err
		}
		s, err := Serve(ctx, dir, place, flags...)
		if err != nil {
			_ = os.Remove(place) // it has gone, or is still mounted, and the error says so
			return all, err
		}
		all.mounts = append(all.mounts, s)
	}
	return all, nil
}

// ServedAll is several mounts of one directory.
type ServedAll struct {
	base   string
	lock   *os.File // of base
	mounts []*Served
}

// Places are where the mounts are.
func (a ServedAll) Places() (places []string) {
	for _, s := range a.mounts {
		places = append(places, s.Place)
	}
	return places
}

// Close unmounts all, and removes their places.
func (a ServedAll) Close() (err error) {
	for _, s := range a.mounts {
		err = errors.Join(err, s.Close())
	}
	if a.base == "" {
		return err
	}
	return errors.Join(err, os.Remove(a.base), a.lock.Close())
}
