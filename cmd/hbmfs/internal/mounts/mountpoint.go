package mounts

import (
	"fmt"
	"os"
	"path/filepath"
)

// Resolve returns path as the mount table has it: absolute, without
// symbolic links. If it is an hbmfs mount already, the mount is not touched: its
// daemon may be dead or stuck.
func Resolve(path string) (string, error) {
	w, err := Walk(path)
	if err != nil {
		return "", fmt.Errorf("mount point %s: %w", path, err)
	}
	if place := filepath.Join(w.Place, w.Below); !w.Ours || isOurMount(place) {
		return place, nil
	}
	place, err := filepath.EvalSymlinks(w.Place + "/" + w.Below)
	if err != nil {
		return "", fmt.Errorf("mount point %s: %w", path, err)
	}
	return place, nil
}

func isOurMount(place string) bool {
	top, found, err := At(place)
	return err == nil && found && top.Ours()
}

// Prepare makes sure that something can be mounted at place: it detaches
// what a killed daemon left there, and refuses a live mount of ours.
func Prepare(place string) error {
	for {
		top, found, err := At(place)
		if err != nil {
			return err
		}
		if !found || !top.Ours() {
			return checkDirectory(place)
		}
		if err := checkLeftBehind(place, top); err != nil {
			return err
		}
		if err := Free(place, top); err != nil {
			return err
		}
	}
}

// checkLeftBehind refuses a mount of ours whose daemon has not died.
func checkLeftBehind(place string, top Entry) error {
	daemon := FindDaemon(top)
	defer daemon.Close()
	switch state := daemon.State(); {
	case state == Stopped:
		return fmt.Errorf("%s is mounted already, from %s, and its daemon is stopped; 'kill -CONT %d' lets it go on, 'hbmfs umount %s' takes it away",
			place, top.Source, daemon.PID, place)
	case state == Dying, !daemon.Found() && IsDead(place):
		return nil
	}
	return fmt.Errorf("%s is mounted already, from %s; 'hbmfs umount %s' first", place, top.Source, place)
}

// checkDirectory refuses what can't be mounted on, and a directory whose content
// the mount would hide.
func checkDirectory(place string) error {
	info, err := os.Stat(place)
	if err != nil {
		return fmt.Errorf("mount point %s: %w", place, err)
	}
	if !info.IsDir() {
		return fmt.Errorf("mount point %s is not a directory; make one to mount on", place)
	}
	entries, err := os.ReadDir(place)
	if err != nil {
		return fmt.Errorf("mount point: %w", err)
	}
	if len(entries) > 0 {
		return fmt.Errorf("mount point %s is not empty: it has %s; mount on an empty directory", place, entries[0].Name())
	}
	return nil
}
