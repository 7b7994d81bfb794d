package tests

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hbmfs/integration/lab/guest"
)

// namesRig is a target and a mount in this guest, of files whose names are delegated.
type namesRig struct {
	*testing.T
	src string
	m   *mount
}

// startNames serves src. Tests write to it before.
func startNames(t *testing.T, src string) *namesRig {
	t.Helper()
	local := guest.Local(t)
	const addr = "127.0.0.1:7171"
	tg := local.Start(t, program(t), "serve", "--delegations", "--listen", addr, "data="+src)
	tg.WaitLine(t, "serving ")
	t.Cleanup(func() {
		tg.Signal(t, syscall.SIGTERM)
		tg.Wait(t)
	})
	r := &namesRig{t, src, mountFrom(t, addr+"/data", "--transport", "tcp")}
	if why := r.m.stats(t).Target.UndelegatedWhy; why != "" {
		guest.Unsupported(t, why)
	}
	return r
}

// namesSource is an empty directory in a file system of that type.
func namesSource(t *testing.T, fs string) string {
	t.Helper()
	guest.Required(t)
	dir := t.TempDir()
	if fs == "ext4" {
		image := dir + ".img"
		for _, argv := range [][]string{
			{"modprobe", "-a", "loop", "ext4"}, {"truncate", "-s", "64M", image}, {"mkfs.ext4", "-q", image}, {"mount", "-o", "loop", image, dir},
		} {
			if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
				guest.Unsupported(t, fmt.Sprintf("%v: %v: %s", argv, err, out))
			}
		}
		t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	}
	src := filepath.Join(dir, "src")
	if err := os.Mkdir(src, 0o755); err != nil {
		t.Fatal(err)
	}
	return src
}

func (r *namesRig) write(path string, number, version int) {
	r.Helper()
	if err := writeFiles([]string{fmt.Sprintf("%s:%d:%d:4096", path, number, version)}); err != nil {
		r.Fatal(err)
	}
}

// reads returns an error unless the mount's file is that version, by an open of its own.
func (r *namesRig) reads(name string, number, version int) error {
	b, err := os.ReadFile(filepath.Join(r.m.dir, name))
	if err == nil && len(b) != 4096 {
		err = fmt.Errorf("%d bytes", len(b))
	}
	if err == nil {
		err = wrongWords(b, number, version, 0)
	}
	return err
}

// settle reads files until they are opened without a message.
func (r *namesRig) settle(names ...string) {
	r.Helper()
	eventually(r.T, time.Minute, "names are delegated", func() error {
		before := r.m.stats(r.T).Target
		for i, name := range names {
			if err := r.reads(name, i, 1); err != nil {
				r.Fatal(err)
			}
		}
		after := r.m.stats(r.T).Target
		if n := after.Unasked - before.Unasked; n < int64(len(names)) {
			return fmt.Errorf("%d of %d opens cost no message; %d are delegated; %s", n, len(names), after.Delegated, after.UndelegatedWhy)
		}
		return nil
	})
}

// TestNamesCostNothing: files whose names are delegated are opened without a message.
func TestNamesCostNothing(t *testing.T) {
	const files, rounds = 30, 10
	src := namesSource(t, "tmpfs")
	r := &namesRig{T: t}
	var names []string
	for i := range files {
		names = append(names, strconv.Itoa(i))
		r.write(filepath.Join(src, names[i]), i, 1)
	}
	r = startNames(t, src)
	r.settle(names...)
	before := r.m.stats(t).Target
	for range rounds {
		for i, name := range names {
			if err := r.reads(name, i, 1); err != nil {
				t.Fatal(err)
			}
		}
	}
	after := r.m.stats(t).Target
	opens := after.Opens + after.Reopens - before.Opens - before.Reopens
	t.Logf("%d opens, %d without a message; %d messages, %d renewals", opens, after.Unasked-before.Unasked, after.RoundTrips-before.RoundTrips, after.Renewals-before.Renewals)
	if n := after.RoundTrips - before.RoundTrips; opens != files*rounds || n > opens/5 { // some terms may end on a slow guest, and the root is looked at
		t.Errorf("%d messages for %d opens", n, opens)
	}
}

// nameChange is a change of what the name a/b/f below dir leads to; out is a directory
// beside what is served, which has another name of the file, l, and other files.
type nameChange struct {
	what string
	do   func(dir, out string) error
	// check returns an error unless the mount's file is as it is then.
	check func(r *namesRig, name string, number int) error
}

func isNext(r *namesRig, name string, number int) error { return r.reads(name, number, 2) }

func isGone(r *namesRig, name string, _ int) error {
	if _, err := os.ReadFile(filepath.Join(r.m.dir, name)); !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%v, want ENOENT", err)
	}
	return nil
}

// isSo checks the attributes of an open file.
func isSo(ok func(*unix.Stat_t) bool) func(*namesRig, string, int) error {
	return func(r *namesRig, name string, _ int) error {
		fd, err := unix.Open(filepath.Join(r.m.dir, name), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil || !ok(&st) {
			return fmt.Errorf("%+v, %w", st, err)
		}
		return nil
	}
}

// patch writes version 2 into the file.
func patch(path, from string, write func(f *os.File, b []byte) error) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(write(f, b), f.Close())
}

var nameChanges = []nameChange{
	{"write", func(dir, out string) error {
		return patch(dir+"/a/b/f", out+"/next", func(f *os.File, b []byte) error { _, err := f.WriteAt(b, 0); return err })
	}, isNext},
	{"mmap", func(dir, out string) error {
		return patch(dir+"/a/b/f", out+"/next", func(f *os.File, b []byte) error {
			m, err := unix.Mmap(int(f.Fd()), 0, len(b), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
			if err != nil {
				return err
			}
			copy(m, b)
			return unix.Munmap(m)
		})
	}, isNext},
	{"write by a link", func(_, out string) error {
		return patch(out+"/l", out+"/next", func(f *os.File, b []byte) error { _, err := f.WriteAt(b, 0); return err })
	}, isNext},
	{"rename over", func(dir, out string) error { return os.Rename(out+"/next", dir+"/a/b/f") }, isNext},
	{"exchange", func(dir, out string) error {
		return unix.Renameat2(unix.AT_FDCWD, out+"/next", unix.AT_FDCWD, dir+"/a/b/f", unix.RENAME_EXCHANGE)
	}, isNext},
	{"unlink", func(dir, _ string) error { return os.Remove(dir + "/a/b/f") }, isGone},
	{"rename away", func(dir, _ string) error { return os.Rename(dir+"/a/b/f", dir+"/a/b/g") }, isGone},
	{"unlink and link", func(dir, out string) error {
		return errors.Join(os.Remove(dir+"/a/b/f"), os.Link(out+"/next", dir+"/a/b/f"))
	}, isNext},
	{"rename the directory", func(dir, out string) error {
		return errors.Join(os.Rename(dir+"/a/b", dir+"/a/old"), os.Rename(out+"/dir", dir+"/a/b"))
	}, isNext},
	{"rename its parent", func(dir, out string) error {
		return errors.Join(os.Rename(dir+"/a", dir+"/old"), os.Mkdir(dir+"/a", 0o755), os.Rename(out+"/dir", dir+"/a/b"))
	}, isNext},
	{"exchange the directory", func(dir, out string) error {
		return unix.Renameat2(unix.AT_FDCWD, out+"/dir", unix.AT_FDCWD, dir+"/a/b", unix.RENAME_EXCHANGE)
	}, isNext},
	{"truncate", func(dir, _ string) error { return os.Truncate(dir+"/a/b/f", 8) }, isSo(func(st *unix.Stat_t) bool { return st.Size == 8 })},
	{"open and truncate", func(dir, _ string) error {
		for {
			fd, err := unix.Open(dir+"/a/b/f", unix.O_RDONLY|unix.O_TRUNC|unix.O_CLOEXEC, 0)
			if err != unix.EAGAIN {
				return errors.Join(err, unix.Close(fd))
			}
			time.Sleep(time.Millisecond)
		}
	}, isSo(func(st *unix.Stat_t) bool { return st.Size == 0 })},
	{"chmod", func(dir, _ string) error { return os.Chmod(dir+"/a/b/f", 0o600) }, isSo(func(st *unix.Stat_t) bool { return st.Mode&0o777 == 0o600 })},
	{"chmod by a link", func(_, out string) error { return os.Chmod(out+"/l", 0o600) }, isSo(func(st *unix.Stat_t) bool { return st.Mode&0o777 == 0o600 })},
	{"chown", func(dir, _ string) error { return os.Chown(dir+"/a/b/f", 7, 8) }, isSo(func(st *unix.Stat_t) bool { return st.Uid == 7 && st.Gid == 8 })},
	{"utimes", func(dir, _ string) error { return os.Chtimes(dir+"/a/b/f", time.Time{}, time.Unix(1, 0)) }, isSo(func(st *unix.Stat_t) bool { return st.Mtim.Sec == 1 })},
	{"link", func(dir, out string) error { return os.Link(dir+"/a/b/f", out+"/m") }, isSo(func(st *unix.Stat_t) bool { return st.Nlink == 3 })},
	{"unlink a link", func(_, out string) error { return os.Remove(out + "/l") }, isSo(func(st *unix.Stat_t) bool { return st.Nlink == 1 })},
}

// TestNamesSeeChanges: what a delegated name leads to, an open sees as soon as the
// change has been made.
func TestNamesSeeChanges(t *testing.T) {
	for _, fs := range []string{"tmpfs", "ext4"} {
		t.Run(fs, func(t *testing.T) {
			src := namesSource(t, fs)
			r := &namesRig{T: t}
			place := func(i int) (dir, out, name string) {
				return filepath.Join(src, strconv.Itoa(i)), filepath.Join(filepath.Dir(src), "out", strconv.Itoa(i)), strconv.Itoa(i) + "/a/b/f"
			}
			var names []string
			for i := range nameChanges {
				dir, out, name := place(i)
				r.write(dir+"/a/b/f", i, 1)
				r.write(out+"/next", i, 2)
				r.write(out+"/dir/f", i, 2)
				if err := os.Link(dir+"/a/b/f", out+"/l"); err != nil {
					t.Fatal(err)
				}
				names = append(names, name)
			}
			r = startNames(t, src)
			r.settle(names...)
			for i, c := range nameChanges {
				dir, out, name := place(i)
				before := r.m.stats(t).Target.Unasked
				if err := r.reads(name, i, 1); err != nil {
					t.Fatalf("%s: before: %v", c.what, err)
				}
				if r.m.stats(t).Target.Unasked == before {
					t.Logf("%s: the name was asked for just before", c.what) // a slow guest: its term was over
				}
				if err := c.do(dir, out); err != nil {
					t.Fatalf("%s: %v", c.what, err)
				}
				if err := c.check(r, name, i); err != nil {
					t.Errorf("%s: %v", c.what, err)
				}
			}
		})
	}
}

// TestNamesMountedOver: a mount, which waits for nobody, is seen all the same.
func TestNamesMountedOver(t *testing.T) {
	src := namesSource(t, "tmpfs")
	r := &namesRig{T: t}
	r.write(src+"/a/b/f", 0, 1)
	other := filepath.Join(filepath.Dir(src), "other")
	r.write(other+"/f", 0, 2)
	r = startNames(t, src)
	r.settle("a/b/f")
	if err := unix.Mount(other, src+"/a/b", "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(src+"/a/b", unix.MNT_DETACH)
	took := eventually(t, 5*time.Second, "what is mounted is shown", func() error { return r.reads("a/b/f", 0, 2) })
	t.Logf("after %v", took)
}
