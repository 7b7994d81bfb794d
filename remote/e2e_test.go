package remote_test

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"hbmfs/remote"
	"hbmfs/remote/target"
	"hbmfs/transport"
	"hbmfs/transport/tcp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestThin(t *testing.T) {
	dir := t.TempDir()
	data := bytes.Repeat([]byte("0123456789abcdef"), 100000)
	os.WriteFile(filepath.Join(dir, "a"), data, 0o644)
	tg, err := target.New(target.Config{Exports: []target.Export{{Name: "d", Path: dir}}, Transports: []string{"tcp"}})
	if err != nil {
		t.Fatal(err)
	}
	defer tg.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go tg.Serve(context.Background(), l)
	ctx := context.Background()
	r, err := remote.Connect(ctx, remote.Config{Addr: l.Addr().String(), Connections: 2, Checksums: true,
		Select: func(served []string) (transport.Selection, error) {
			return transport.Select("auto", false, served, transport.HostMemory(make([]byte, 10)), []transport.Candidate{{Name: "tcp", Path: transport.PathStaged, Transport: tcp.New(false)}})
		}})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	t.Log(r.Stat(ctx, "d", "a"))
	t.Log(r.Stat(ctx, "d", "b"))
	t.Log(r.List(ctx, "d", ""))
	t.Log(r.Statfs(ctx, "d"))
	f, err := r.Open(ctx, "d", "a", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Log(f.Settled())
	b, err := f.Read(ctx, 5, 100000)
	if err != nil || !bytes.Equal(b.Bytes(), data[5:100005]) {
		t.Fatal(err)
	}
	b.Release()
	t.Log(f.Digest(ctx, 0, f.Size()))
	start := time.Now()
	w, err := os.OpenFile(filepath.Join(dir, "a"), os.O_WRONLY, 0)
	t.Log(time.Since(start), err, f.Stale())
	w.Close()
	_, err = f.Read(ctx, 5, 100000)
	t.Log(err)
	f.Close()
	t.Logf("%+v", r.Stats())
}
