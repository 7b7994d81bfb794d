package device

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"hbmfs/transport"
)

// files writes what /proc and /sys of a host have, and returns their root.
func files(t *testing.T, content map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range content {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

const (
	gib     = 1 << 30
	meminfo = "MemTotal:       16777216 kB\nMemFree:  1000 kB\nMemAvailable:    8388608 kB\n" // 8 GiB
	v1Mount = "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
	v2Mount = "30 24 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
)

func TestHostRoom(t *testing.T) {
	const v1, v2 = "sys/fs/cgroup/memory/", "sys/fs/cgroup/"
	for name, c := range map[string]struct {
		files map[string]string
		want  int64 // before headroom
		bound string
	}{
		"no groups":     {nil, 8 * gib, "MemAvailable"},
		"unlimited, v2": {map[string]string{"proc/self/cgroup": "0::/a/b\n", v2 + "a/b/memory.max": "max\n", v2 + "a/b/memory.current": "5\n"}, 8 * gib, "MemAvailable"},
		"own, v2": {map[string]string{"proc/self/cgroup": "0::/a/b\n", v2 + "a/b/memory.max": "4294967296\n", v2 + "a/b/memory.current": "3221225472\n",
			v2 + "a/b/memory.stat": "anon 7\nfile 3000000000\ninactive_file 1073741824\nactive_file 1073741824\n"}, 3 * gib, "/a/b/memory.max"},
		"ancestor, v2": {map[string]string{"proc/self/cgroup": "1:name=x:/q\n0::/a/b\n", v2 + "a/b/memory.max": "max\n", v2 + "a/b/memory.current": "0\n",
			v2 + "a/memory.high": "2147483648\n", v2 + "a/memory.max": "4294967296\n", v2 + "a/memory.current": "1073741824\n"}, gib, "/a/memory.high"},
		"used up, v2": {map[string]string{"proc/self/cgroup": "0::/\n", v2 + "memory.max": "1000000\n", v2 + "memory.current": "1000000\n"}, 0, "memory.max"},
		"unlimited, v1": {map[string]string{"proc/self/cgroup": "4:cpu,memory:/a\n0::/\n", v1 + "a/memory.limit_in_bytes": "9223372036854771712\n",
			v1 + "a/memory.usage_in_bytes": "100\n"}, 8 * gib, "MemAvailable"},
		"ancestor, v1": {map[string]string{"proc/self/cgroup": "4:memory:/a/b/c\n", v1 + "a/memory.limit_in_bytes": "2147483648\n", v1 + "a/memory.usage_in_bytes": "1073741824\n",
			v1 + "a/memory.stat": "active_file 5\ntotal_active_file 536870912\ntotal_inactive_file 0\n"}, 3 * gib / 2, "/a/memory.limit_in_bytes"},
		"of another name space": {map[string]string{"proc/self/cgroup": "0::/../../x\n", v2 + "memory.max": "1073741824\n", v2 + "memory.current": "0\n"}, gib, "cgroup/memory.max"},
	} {
		t.Run(name, func(t *testing.T) {
			all := map[string]string{"proc/meminfo": meminfo, "proc/self/mountinfo": v1Mount + v2Mount}
			for path, text := range c.files {
				all[path] = text
			}
			room, err := roomBelow(files(t, all))
			if want := max(0, c.want-headroom); err != nil || room.Bytes != want || !strings.Contains(room.Bound, c.bound) {
				t.Errorf("%+v, %v, want %d bytes bounded by %s", room, err, want, c.bound)
			}
		})
	}
}

// TestContainersRoom: where a container sees its own group as the mount's root.
func TestContainersRoom(t *testing.T) {
	room, err := roomBelow(files(t, map[string]string{
		"proc/meminfo": meminfo, "proc/self/cgroup": "4:memory:/docker/abc/sub\n",
		"proc/self/mountinfo":                            "35 31 0:32 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n",
		"sys/fs/cgroup/memory/memory.limit_in_bytes":     "1073741824\n",
		"sys/fs/cgroup/memory/memory.usage_in_bytes":     "0\n",
		"sys/fs/cgroup/memory/sub/memory.limit_in_bytes": "2147483648\n",
		"sys/fs/cgroup/memory/sub/memory.usage_in_bytes": "0\n",
	}))
	if err != nil || room.Bytes != gib-headroom {
		t.Errorf("%+v, %v", room, err)
	}
}

// TestUnfilled: what a region still lacks counts, and no more once it has it, or
// is closed.
func TestUnfilled(t *testing.T) {
	const size = 8 << 20
	before := unfilled()
	r, err := memfd{}.Alloc(transport.Domain{}, size)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	check := func(what string, want int64) {
		t.Helper()
		if got := unfilled() - before; got != want {
			t.Errorf("%s: %d bytes are promised, want %d", what, got, want)
		}
	}
	check("new", size)
	clear(r.Bytes()[:size/4])
	check("a quarter filled", size*3/4)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	check("closed", 0)
}

// smallProvider has room for one region of a page.
type smallProvider struct{ memfd }

func (smallProvider) Room() (Room, error) { return Room{4096, "the test"}, nil }

func TestBounded(t *testing.T) {
	p := Bounded(smallProvider{})
	r, err := p.Alloc(transport.Domain{}, 4096)
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	if _, err = p.Alloc(transport.Domain{}, 4097); !errors.Is(err, ErrRoom) || !errors.Is(err, unix.ENOMEM) || !strings.Contains(err.Error(), "the test") {
		t.Errorf("a byte too many: %v", err)
	}
}

func FuzzGroups(f *testing.F) {
	f.Add("4:memory:/a\n0::/b\n", v1Mount+v2Mount, "active_file 5\n")
	f.Fuzz(func(t *testing.T, member, mounts, stat string) {
		v1, v2 := groupPaths(member)
		for line := range strings.Lines(mounts) {
			m, ok := parseGroupMount(line)
			if !ok {
				continue
			}
			for _, path := range []string{v1, v2} {
				for _, g := range m.groups("/nonexistent", path, &filesV2) {
					if !strings.HasPrefix(g.dir, "/nonexistent") {
						t.Fatalf("%q is not below the mount", g.dir)
					}
				}
			}
		}
		if n, ok := counterIn([]byte(stat), "active_file"); ok && n < 0 {
			t.Errorf("%d", n)
		}
	})
}
