package fs

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"syscall"
	"testing"

	fusefs "github.com/hanwen/go-fuse/v2/fs"

	"hbmfs/fs/byname"
	"hbmfs/fs/uapi"
	"hbmfs/remote/namespace"
	"hbmfs/transport"
	"hbmfs/transport/logging"
)

// nodesOf returns a directory "d" of a dataset, and a file "f" in it.
func nodesOf(t *testing.T, tr *tree) (*dirNode, *fileNode) {
	t.Helper()
	ds := &dataset{}
	ds.top = &dirNode{node: node{t: tr, ds: ds}}
	fusefs.NewNodeFS(ds.top, &fusefs.Options{})
	d, f := &dirNode{node: node{t: tr, ds: ds}}, &fileNode{node: node{t: tr, ds: ds}}
	ds.top.AddChild("d", ds.top.NewPersistentInode(t.Context(), d, fusefs.StableAttr{Mode: syscall.S_IFDIR, Ino: 5}), false)
	d.AddChild("f", d.NewPersistentInode(t.Context(), f, fusefs.StableAttr{Mode: syscall.S_IFREG, Ino: 6}), false)
	return d, f
}

// TestEntryErrno: the log says of which file an entry failed.
func TestEntryErrno(t *testing.T) {
	var out bytes.Buffer
	tr := &tree{log: logging.NewLimiter(slog.New(slog.NewTextHandler(&out, nil)))}
	d, f := nodesOf(t, tr)
	for _, c := range []struct {
		n          *node
		name, path string
	}{{&d.node, "e/x", "path=d/e/x "}, {&d.ds.top.node, "x", "path=x "}, {&f.node, "", "path=d/f "}} {
		out.Reset()
		errno := c.n.entryErrno([]byte(c.name), syscall.EIO)
		if errno != syscall.EIO || !strings.Contains(out.String(), c.path) {
			t.Errorf("%q: %v, %s", c.name, errno, &out)
		}
	}
}

// changing is a target where each file changes between the looks at it.
type changing struct{ names }

func (changing) Keeps(_, _ string) (transport.Version, bool) { return transport.Version{}, false }

func (changing) Stat(context.Context, string, string) (namespace.Attr, error) {
	return namespace.Attr{Mode: syscall.S_IFDIR | 0o755}, nil
}

// TestNamedChanges: a file that changes while it is opened is opened again.
func TestNamedChanges(t *testing.T) {
	opens := 0
	p := &byname.Paths[File]{Target: changing{}, OpenAt: func(context.Context, string, string, *transport.Version) (File, error) {
		opens++
		if opens < 3 {
			return nil, transport.ErrStale
		}
		return nil, syscall.ENXIO
	}}
	g := &named{Opener: byname.Opener[File]{Tree: p, Dirs: byname.NewDirs(nameTimeout)}}
	_, err := g.Get(t.Context(), new(uapi.BatchEntry), []byte("f"), nil)
	if err != syscall.ENXIO || opens != 3 {
		t.Errorf("%v after %d opens", err, opens)
	}
}
