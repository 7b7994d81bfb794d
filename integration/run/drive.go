package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
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

	target, err := start(hbmfs, "serve", "--listen", "127.0.0.1:0", "src="+src)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, target.stop()) }()
	line, err := target.line(ctx, "serving ")
	if err != nil {
		return err
	}
	addr := line[strings.LastIndexByte(line, ' ')+1:]
	fmt.Printf("target   pid %d serves %s on %s\n", target.pid(), src, addr)

	mount, err := start(hbmfs, "mount", "--foreground", addr+"/src", place)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, mount.stop(), checkGone(place)) }()
	if _, err := mount.line(ctx, "mounted "); err != nil {
		return err
	}
	fmt.Printf("mount    pid %d shows it at %s\n", mount.pid(), place)
	return runChecker(ctx, place, src)
}

func runChecker(ctx context.Context, place, src string) error {
	checker := command("/proc/self/exe", checkCommand, place, src)
	checker.Stdout, checker.Stderr = os.Stdout, os.Stderr
	if err := checker.Start(); err != nil {
		return err
	}
	fmt.Printf("checker  pid %d\n", checker.Process.Pid)
	defer context.AfterFunc(ctx, func() { _ = checker.Process.Signal(unix.SIGTERM) })()
	err := checker.Wait()
	switch {
	case ctx.Err() != nil:
		return errInterrupted
	case err != nil:
		return fmt.Errorf("checker: %w", err)
	}
	return nil
}

// checkGone returns an error if the mount is still there.
func checkGone(place string) error {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	if strings.Contains(string(table), " "+place+" ") {
		return errors.Join(fmt.Errorf("the mount at %s was left behind", place), unix.Unmount(place, unix.MNT_DETACH))
	}
	return nil
}
