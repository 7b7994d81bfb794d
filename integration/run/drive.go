package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"hbmfs/integration/process"
)

// drive sets up a target and a mount, runs the checker beside them, and takes
// everything down.
func drive(ctx context.Context, hbmfs, src string) (err error) {
	if src, err = filepath.EvalSymlinks(src); err != nil {
		return err
	}
	if src, err = filepath.Abs(src); err != nil {
		return err
	}
	place, err := os.MkdirTemp("", "hbmfs-run-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(place)) }()

	target, err := process.Start(process.Command(hbmfs, "serve", "--listen", "127.0.0.1:0", "src="+src))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop(target)) }()
	line, err := target.AwaitLine(ctx, "serving ")
	if err != nil {
		return err
	}
	addr := line[strings.LastIndexByte(line, ' ')+1:]
	fmt.Printf("target   pid %d serves %s on %s\n", target.PID(), src, addr)

	mount, err := process.Start(process.Command(hbmfs, "mount", "--foreground", addr+"/src", place))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop(mount), checkGone(place)) }()
	if _, err := mount.AwaitLine(ctx, "mounted "); err != nil {
		return err
	}
	fmt.Printf("mount    pid %d shows it at %s\n", mount.PID(), place)
	return runChecker(ctx, place, src)
}

// stop ends a process and expects it to succeed.
func stop(p *process.Process) error {
	if err := p.Stop(); err != nil {
		return err
	}
	return p.Wait()
}

func runChecker(ctx context.Context, place, src string) error {
	cmd := process.Command("/proc/self/exe", checkCommand, place, src)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	checker, err := process.Start(cmd)
	if err != nil {
		return err
	}
	fmt.Printf("checker  pid %d\n", checker.PID())
	defer context.AfterFunc(ctx, func() { checker.Signal(unix.SIGTERM) })()
	if err := checker.Wait(); err != nil {
		return errors.Join(context.Cause(ctx), err)
	}
	return nil
}

// checkGone returns an error if the mount is still there.
func checkGone(place string) error {
	if process.IsMounted(place) {
		return errors.Join(fmt.Errorf("the mount at %s was left behind", place), unix.Unmount(place, unix.MNT_DETACH))
	}
	return nil
}
