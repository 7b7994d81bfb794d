package tests

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"hbmfs/fs"
	"hbmfs/fs/client"
	"hbmfs/fs/uapi"
	"hbmfs/integration/lab/guest"
)

const (
	megabyte  = 1 << 20
	fileSize  = 24 * megabyte
	smallPool = "16MiB" // smaller than a file, so that extents are fetched again
)

// direct mounts by RDMA into dma-bufs and refuses anything else.
func direct(t *testing.T, flags ...string) *mount {
	t.Helper()
	m := startMount(t, append([]string{"--transport", "rdma", "--require-direct", "--device", "udmabuf", "--pool", smallPool}, flags...)...)
	m.path = uapi.PathRDMA
	return m
}

func big(number, version int) string {
	return fmt.Sprintf("f%d:%d:%d:%d", number, number, version, fileSize)
}

// TestRDMAFetch fetches a file that is larger than the pool, all of it by RDMA.
func TestRDMAFetch(t *testing.T) {
	startTarget(t, big(1, 1))
	m := direct(t)
	f := m.open(t, "f1", 1, 1)
	for off := int64(0); off < fileSize; off += 3*megabyte + 4096 {
		r, err := f.fetch(t.Context(), off, 3*megabyte+4096)
		if err != nil {
			t.Fatal(err)
		}
		if r.Path != uapi.PathRDMA || r.Why != uapi.WhyBest {
			t.Fatalf("%d bytes at %d came by %v (%v)", r.Fetched, off, r.Path, r.Why)
		}
	}
	s := m.stats(t)
	if got := s.Cache.Bytes[uapi.PathRDMA]; got < fileSize || s.Cache.Bytes[uapi.PathStaged] != 0 {
		t.Errorf("fetched by path: %+v", s.Cache.Bytes)
	}
	if s.Target.Link.Connections != 4 {
		t.Errorf("%d connections", s.Target.Link.Connections)
	}
	if qps := resources(t, guest.Local(t), "qp"); qps != 4 {
		t.Errorf("the kernel has %d queue pairs of hbmfs, want 4", qps)
	}
}

// TestRDMAPlainRead reads by read(2), which asks for host copies and says so.
func TestRDMAPlainRead(t *testing.T) {
	startTarget(t, big(2, 1))
	m := startMount(t, "--transport", "rdma", "--pool", smallPool)
	got, err := os.ReadFile(filepath.Join(m.dir, "data", "f2"))
	if err == nil {
		err = wrongWords(got, 2, 1, 0)
	}
	if err != nil || len(got) != fileSize {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	if s := m.stats(t); s.Cache.Bytes[uapi.PathRDMA] != 0 || s.Target.Bytes[uapi.PathRDMA] != 0 {
		t.Errorf("plain reads are counted as rdma: %+v", s.Target.Bytes)
	}
}

// load fetches random ranges of files until its context ends.
type load struct {
	t       *testing.T
	files   []*file
	cancel  context.CancelFunc
	wg      sync.WaitGroup
	fetches atomic.Int64
	fresh   atomic.Int64 // of those, the ones that were not all in memory
	bytes   atomic.Int64
	failed  atomic.Int64 // fetches that ended with an error that it tolerates
}

// tolerated is what a fetch may end with while a fault is there.
var tolerated = []error{syscall.EIO, syscall.ETIMEDOUT, syscall.EAGAIN, syscall.ESTALE, syscall.ENOTCONN, syscall.ECONNABORTED, syscall.ENOSPC}

func startLoad(t *testing.T, workers int, faults bool, files ...*file) *load {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	l := &load{t: t, files: files, cancel: cancel}
	for i := range workers {
		l.wg.Go(func() { l.run(ctx, rand.New(rand.NewPCG(uint64(i), 7)), faults) })
	}
	t.Cleanup(l.stop)
	return l
}

func (l *load) stop() {
	l.cancel()
	l.wg.Wait()
}

func (l *load) run(ctx context.Context, r *rand.Rand, faults bool) {
	for ctx.Err() == nil {
		f := l.files[r.IntN(len(l.files))]
		off := r.Int64N(fileSize)
		n := 1 + r.Int64N([]int64{8, 4096, 64 << 10, 2 * megabyte}[r.IntN(4)])
		got, err := f.fetch(ctx, off, n)
		switch {
		case err == nil:
			l.fetches.Add(1)
			if slices.ContainsFunc(got.Segments, func(s client.Segment) bool { return !s.Hit }) {
				l.fresh.Add(1)
			}
			l.bytes.Add(got.Fetched)
			if got.Path != f.path {
				l.t.Errorf("%d bytes at %d came by %v (%v)", n, off, got.Path, got.Why)
			}
		case ctx.Err() != nil:
		case faults && isTolerated(err):
			l.failed.Add(1)
			time.Sleep(10 * time.Millisecond) // the fault's, not the test's, to end
		default:
			l.t.Errorf("%d bytes at %d: %v", n, off, err)
			return
		}
	}
}

func isTolerated(err error) bool {
	for _, t := range tolerated {
		if errors.Is(err, t) {
			return true
		}
	}
	return false
}

// advance waits until the load has made n more fetches over the network.
func (l *load) advance(n int64, limit time.Duration) time.Duration {
	l.t.Helper()
	from := l.fresh.Load()
	return eventually(l.t, limit, "fetches go on", func() error {
		if got := l.fresh.Load() - from; got < n {
			return fmt.Errorf("%d fetches of %d", got, n)
		}
		return nil
	})
}

// busy waits until requests are in flight, so that a fault hits one.
func (m *mount) busy(t *testing.T) fs.Stats {
	t.Helper()
	var s fs.Stats
	eventually(t, 30*time.Second, "a request in flight", func() error {
		if s = m.stats(t); s.Target.Link.InFlight == 0 {
			return errors.New("none")
		}
		return nil
	})
	return s
}

// TestRDMASoak: mixed sizes, several readers, every word checked.
func TestRDMASoak(t *testing.T) {
	startTarget(t, big(1, 1), big(2, 1))
	m := direct(t)
	l := startLoad(t, 6, false, m.open(t, "f1", 1, 1), m.open(t, "f2", 2, 1))
	soak := guest.Soak(t, 2*time.Minute)
	select {
	case <-time.After(soak):
	case <-t.Context().Done():
	}
	l.stop()
	s := m.stats(t)
	t.Logf("%v: %d fetches, %d MiB checked, %d MiB by rdma, 0 wrong words", soak, l.fetches.Load(), l.bytes.Load()>>20,
		s.Cache.Bytes[uapi.PathRDMA]>>20)
	if r := s.Target.Link.Registrations; r.Misses != 1+tried {
		t.Errorf("registrations: %+v; want one for the one region, and the one that was tried", r)
	}
}

// TestRDMATargetKilled: the target dies under load and comes back.
func TestRDMATargetKilled(t *testing.T) {
	tg := startTarget(t, big(1, 1))
	m := direct(t)
	l := startLoad(t, 4, true, m.open(t, "f1", 1, 1))
	l.advance(5, time.Minute)
	before := m.busy(t)
	tg.Kill(t)
	tg.Wait(t)
	tg.start(t)
	took := l.advance(20, time.Minute)
	l.stop()
	s := m.stats(t)
	t.Logf("%d in flight when the target was killed; 20 fetches %v after it was back; %d fetches failed, %d requests issued again",
		before.Target.Link.InFlight, took, l.failed.Load(), s.Target.Retries)
	m.settled(t)
}

// settled fails the test unless the mount is as it was at rest: its queue pairs,
// and no lease, transfer or quarantined extent.
func (m *mount) settled(t *testing.T) {
	t.Helper()
	local := guest.Local(t)
	eventually(t, 30*time.Second, "the mount is at rest", func() error {
		if err := m.atRest(m.stats(t)); err != nil {
			return err
		}
		if n := resources(t, local, "qp"); n != 4 {
			return fmt.Errorf("%d queue pairs", n)
		}
		return nil
	})
}

// atRest returns an error unless the mount has no lease, transfer or quarantined
// extent.
func (m *mount) atRest(s fs.Stats) error {
	if s.Cache.Leases != 0 || s.Cache.Filling.Extents != 0 || s.Cache.Quarantined.Extents != 0 || s.Target.Link.InFlight != 0 {
		return fmt.Errorf("leases %d, filling %d, quarantined %d, in flight %d",
			s.Cache.Leases, s.Cache.Filling.Extents, s.Cache.Quarantined.Extents, s.Target.Link.InFlight)
	}
	return nil
}

// TestRDMAMountKilled: what a mount had at both ends goes with it.
func TestRDMAMountKilled(t *testing.T) {
	tg := startTarget(t, big(1, 1))
	local := guest.Local(t)
	here, there := objects(t, local), objects(t, tg.peer)
	m := direct(t)
	l := startLoad(t, 4, true, m.open(t, "f1", 1, 1))
	l.advance(5, time.Minute)
	m.busy(t)
	m.Kill(t)
	l.stop()
	m.Wait(t)
	for what, h := range map[string]*guest.Host{"the mount's": local, "the target's": tg.peer} {
		want := here
		if h == tg.peer {
			want = there
		}
		took := eventually(t, 30*time.Second, what+" RDMA objects are gone", func() error {
			if got := objects(t, h); got != want {
				return fmt.Errorf("%+v; before the mount: %+v", got, want)
			}
			return nil
		})
		t.Logf("%s RDMA objects were gone after %v", what, took)
	}
}

// rdmaObjects are the kernel's RDMA objects of hbmfs in a guest.
type rdmaObjects struct{ qp, mr, pd, cq int }

func objects(t *testing.T, h *guest.Host) rdmaObjects {
	t.Helper()
	return rdmaObjects{resources(t, h, "qp"), resources(t, h, "mr"), resources(t, h, "pd"), resources(t, h, "cq")}
}
