package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// mountFewDescriptors mounts src of a target with little room for open files.
func mountFewDescriptors(t *testing.T, src string) (m *mount, target *process) {
	t.Helper()
	target = start(t, exec.Command("sh", "-c", "ulimit -n 128; exec "+bin+" serve --listen 127.0.0.1:0 data="+src))
	l := target.line("serving ")
	return startMount(t, l[strings.LastIndex(l, " ")+1:]+"/data"), target
}

// writeFew makes a directory of n files.
func writeFew(t *testing.T, n int) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for i := range n {
		must(t, os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), []byte("data"), 0o644))
	}
	return dir
}

// TestClosedMakesRoom: programs that open no more files at a time than the target has
// room for never meet the limit, however fast they close and open.
func TestClosedMakesRoom(t *testing.T) {
	const programs, files = 16, 400 // a target of so few descriptors lets one mount have 20 open
	m, _ := mountFewDescriptors(t, writeFew(t, files))
	var all sync.WaitGroup
	for p := range programs {
		all.Go(func() {
			for i := range files {
				f, err := os.Open(m.path(fmt.Sprint((i*programs + p) % files)))
				if err != nil {
					t.Error(err)
					return
				}
				f.Close()
			}
		})
	}
	all.Wait()
}

// TestTargetOutOfDescriptors: the limit is told as the target's, by both logs and by
// read, and not by EMFILE, which is the program's own.
func TestTargetOutOfDescriptors(t *testing.T) {
	const files = 200
	src := writeFew(t, files)
	m, target := mountFewDescriptors(t, src)
	var open []*os.File
	defer func() {
		for _, f := range open {
			f.Close()
		}
	}()
	for i := range files {
		f, err := os.Open(m.path(fmt.Sprint(i)))
		if err != nil {
			if err.(*os.PathError).Err != syscall.ENFILE {
				t.Errorf("open: %v, want ENFILE", err)
			}
			break
		}
		open = append(open, f)
	}
	if len(open) == files {
		t.Fatal("no limit was met")
	}
	all, code := readJSON(t, m.path(fmt.Sprint(files-1)))
	if code != 1 || !strings.Contains(all[0].Error, "target has no descriptors left") {
		t.Errorf("exit code %d, %+v", code, all)
	}
	if !strings.Contains(target.output(), "refused: too many open files") || !strings.Contains(target.output(), "limit=128") {
		t.Error("the target's log does not tell")
	}
	if !strings.Contains(m.output(), "raise the target's limit of descriptors") {
		t.Error("the mount's log does not tell")
	}
}
