package integration

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"testing"
	"time"

	"hbmfs/cache"
	"hbmfs/cache/device"
	"hbmfs/cache/device/devicetest"
	"hbmfs/fs"
	"hbmfs/fs/uapi"
	"hbmfs/remote"
	"hbmfs/remote/server"
	"hbmfs/remote/server/store/dir"
	"hbmfs/transport"
	"hbmfs/transport/inproc"
	"hbmfs/transport/transporttest"
)

// lenderBudget is how many bytes the fake lender has: of one user's at a time.
const lenderBudget = 1 << 20

func init() { children["lend"] = lend }

// startLender mounts src with a fake lender beneath, since this machine has no
// NIC that could lend: all that is the product's own is between the ioctl and the
// transport. Options are "strict", "require-direct", "stall" for a lender that
// says "asked" and lends nothing until its caller leaves, and "hidden" for memory
// that the CPU can't touch (hidden_test.go).
func startLender(t *testing.T, src string, options ...string) *mount {
	t.Helper()
	return startLenderWith(t, nil, src, options...)
}

func startLenderWith(t *testing.T, stdin *os.File, src string, options ...string) *mount {
	t.Helper()
	dir := t.TempDir()
	openPath(t, dir)
	cmd := child(t, "lend", 0, append([]string{src, dir}, options...)...)
	if stdin != nil {
		cmd.Stdin = stdin
	}
	p := start(t, cmd)
	m := &mount{process: p, dir: dir}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) }) // if still there
	p.line("mounted")
	return m
}

func localTarget(src string) (*dir.Files, *server.Server, error) {
	files, err := dir.NewFiles(nil)
	if err != nil {
		return nil, nil, err
	}
	t, err := server.New(server.Config{Exports: []server.Export{{Name: "local", Store: files.Store(src, nil)}}, Transports: []string{inproc.Name}})
	return files, t, err
}

// lend SRC DIR OPTION... serves a mount of SRC at DIR until SIGTERM.
func lend(args []string) (err error) {
	src, dir, options := args[0], args[1], args[2:]
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	files, local, err := localTarget(src)
	if err != nil {
		return err
	}
	defer files.Close()
	defer func() { err = errors.Join(err, local.Close()) }()
	provider, err := device.Open("memfd")
	if err != nil {
		return err
	}
	if slices.Contains(options, "hidden") {
		provider = devicetest.Hidden{TB: childTB{}}
	}
	var c *cache.Cache
	fake := transporttest.FakeLender{Transport: inproc.New(local), Path: uapi.PathDevmemTCP}
	var lender transport.Transport = &fake
	if slices.Contains(options, "stall") {
		lender = stallingLender{lender}
	}
	fake.Reserve = func(dom transport.Domain, size int64) (transport.LoanMemory, error) { return c.Reserve(dom, size) }
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	requireDirect := slices.Contains(options, "require-direct")
	t, err := remote.Connect(ctx, remote.Config{
		Addr: "in this process", DialControl: local.DialLocal, Timeout: 10 * time.Second, Checksums: true, Log: log,
		Candidates: []transport.Candidate{{Name: inproc.Name, Path: fake.Path, Transport: lender}}, RequireDirect: requireDirect,
		Probe: []transport.Memory{transporttest.NewMapped(8)},
	})
	if err != nil {
		return err
	}
	c, err = cache.New(cache.Config{
		Devices: []cache.Device{{Provider: provider, Pool: 64 * extent}}, Extent: extent, Timeout: 10 * time.Second,
		Attach: t.Attach, Detach: func(mem transport.Memory) { _ = t.Detach(mem) },
	})
	if err != nil {
		return errors.Join(err, t.Close())
	}
	defer func() { err = errors.Join(err, t.Close(), c.Close()) }()
	server, err := fs.Mount(dir, t, fs.Config{
		Cache: c, Dataset: "local", Source: src, Extent: extent, AllowOther: true, Log: log,
		Strict: slices.Contains(options, "strict"), RequireDirect: requireDirect,
	})
	if err != nil {
		return err
	}
	fmt.Println("mounted")
	go showRegions(c)
	<-ctx.Done()
	return server.Unmount()
}

// stallingLender is a fake whose links are never done with a loan.
type stallingLender struct{ transport.Transport }

type stallingLink struct{ transport.Link }

func (s stallingLender) Dial(ctx context.Context, session transport.Session) (transport.Link, error) {
	l, err := s.Transport.Dial(ctx, session)
	return stallingLink{l}, err
}

func (stallingLink) Borrow(ctx context.Context, _ transport.Domain, _ transport.FileRef, _, _ int64, _ int) (transport.Loan, error) {
	fmt.Println("asked")
	<-ctx.Done()
	return nil, ctx.Err()
}

// awaitLoans waits until the mount has lent n of them: a close is told to the
// daemon after it has returned.
func (m *mount) awaitLoans(n int64) {
	m.t.Helper()
	eventually(m.t, fmt.Sprintf("%d loans", n), func() error {
		if s := m.stats().Loans; s.Held != n || (s.HeldBytes == 0) != (n == 0) {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
}
