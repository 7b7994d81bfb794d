package devmemtcp

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"regexp"
	"testing"
	"time"

	"hbmfs/cache/device"
	"hbmfs/fs/uapi"
	"hbmfs/transport"
	"hbmfs/transport/internal/lanes"
	"hbmfs/transport/tcp"
	"hbmfs/transport/transporttest"
)

// TestNICDirect fetches into memory that has a dma-buf itself: every byte goes
// by the NIC into the pool, over IPv4 and IPv6.
func TestNICDirect(t *testing.T) {
	n := needNIC(t)
	for what, listen := range map[string]listener{"IPv4": n.listen, "IPv6": n.listen6} {
		b := newNICBench(t, n, listen, func(s *transport.Session) { s.Connections = 2; s.RequireDirect = true })
		dev := deviceMemory(t, 8*extent)
		attach(t, b.link, dev)
		begin := time.Now()
		for off := int64(0); off < 8*extent; off += extent {
			r := <-submit(t, b.link, b.file, off, transport.Span{Mem: dev, Off: off, Len: extent})
			if r.Err != nil || r.Path != uapi.PathDevmemTCP || r.Why != uapi.WhyBest || r.HostCopies != 0 || r.DeviceCopies != 1 || !r.HasCRC {
				t.Fatalf("%s: %+v", what, r)
			}
		}
		took := time.Since(begin)
		if err := transporttest.Check(dev.Bytes(), b.file, 0); err != nil {
			t.Error(err)
		}
		s := b.link.Stats().Devmem
		if s.DeviceBytes != 8*extent || s.HostBytes != 0 || s.LinearBytes != 0 || s.Tokens != 0 {
			t.Errorf("%s: %+v", what, s)
		}
		t.Logf("%s: for each MiB %.1f recvmsg, %.1f setsockopt, %.0f fragments; 8 MiB in %v", what,
			float64(s.Recvmsgs)/8, float64(s.TokenCalls)/8, float64(s.Fragments)/8, took)
		if err := errors.Join(b.link.Close(), b.tr.(io.Closer).Close()); err != nil {
			t.Error(err)
		}
	}
}

func deviceMemory(t *testing.T, size int64) device.Region {
	t.Helper()
	p, err := device.Open("udmabuf")
	if err != nil {
		t.Fatal(err)
	}
	r, err := p.Alloc(transport.Domain{UID: 1000, Device: 1}, size)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

var location = regexp.MustCompile(`Filter: (\d+)`)

// TestNICRuleGone takes the rule of a pair away underneath: what comes then is
// said to have come through host memory, and refused where that is asked for.
func TestNICRuleGone(t *testing.T) {
	n := needNIC(t)
	for _, direct := range []bool{false, true} {
		b := newNICBench(t, n, n.listen, func(s *transport.Session) { s.RequireDirect = direct })
		b.healthy()
		for _, m := range location.FindAllStringSubmatch(command(t, "ethtool", "-n", n.name), -1) {
			command(t, "ethtool", "-N", n.name, "delete", m[1])
		}
		dev, r := b.fetch(0, extent)
		if direct {
			if !errors.Is(r.Err, transport.ErrNotDirect) || !transporttest.Scribbled(dev.Read(0, extent)) {
				t.Errorf("%+v", r)
			}
		} else {
			if err := errors.Join(r.Err, transporttest.Check(dev.Read(0, extent), b.file, 0)); err != nil {
				t.Error(err)
			}
			if r.Path != uapi.PathStaged || r.Why != uapi.WhyNotSteered || r.HostCopies != 1 {
				t.Errorf("%+v", r)
			}
		}
		if s := b.link.Stats().Devmem; s.HostBytes == 0 {
			t.Errorf("%+v", s)
		}
		b.recovers()
		if err := errors.Join(b.link.Close(), b.tr.(io.Closer).Close()); err != nil {
			t.Error(err)
		}
	}
}

// recovers waits until fetches are direct again.
func (b *bench) recovers() {
	b.t.Helper()
	for until := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if _, r := b.fetch(0, extent); r.Err == nil && r.Path.Direct() {
			break
		} else if time.Now().After(until) {
			b.t.Fatalf("not direct again: %+v", r)
		}
	}
	b.healthy()
}

// TestNICDown takes the link down with transfers under way, for longer than the
// time-out.
func TestNICDown(t *testing.T) {
	n := needNIC(t)
	b := newNICBench(t, n, n.listen, func(s *transport.Session) { s.Connections, s.Timeout = 2, time.Second })
	b.healthy()
	dev := deviceMemory(t, 16*extent)
	attach(t, b.link, dev)
	var ends []<-chan transport.Result
	for i := range int64(16) {
		ends = append(ends, submit(t, b.link, b.file, i*extent, transport.Span{Mem: dev, Off: i * extent, Len: extent}))
	}
	<-ends[0]
	command(t, "ip", "link", "set", n.name, "down")
	for i, end := range ends[1:] {
		r := <-end
		off := int64(i+1) * extent
		if r.Err == nil {
			r.Err = transporttest.Check(dev.Bytes()[off:][:extent], b.file, off)
		} else if errors.Is(r.Err, transport.ErrConnLost) {
			r.Err = nil
		}
		if r.Err != nil {
			t.Error(r.Err)
		}
	}
	command(t, "ip", "link", "set", n.name, "up")
	b.recovers()
}

// TestNICSoak loses pairs while it fetches.
func TestNICSoak(t *testing.T) {
	n := needNIC(t)
	d := 10 * time.Second
	if s := os.Getenv("HBMFS_LAB_SOAK"); s != "" {
		var err error
		if d, err = time.ParseDuration(s); err != nil {
			t.Fatal(err)
		}
	}
	b := newNICBench(t, n, n.listen, func(s *transport.Session) { s.Connections = 2 })
	b.soak(d)
}

// TestNICRefusals has Plan say what is missing.
func TestNICRefusals(t *testing.T) {
	n := needNIC(t)
	mem := transporttest.NewFakeDevice(t, 4096)
	for what, change := range map[string]func(*Config){
		"no such NIC":     func(c *Config) { c.NIC = "nosuch0" },
		"a NIC without":   func(c *Config) { c.NIC = "lo" },
		"too many queues": func(c *Config) { c.Queues = 99 },
		"no dma-buf":      func(c *Config) { c.Pool = allocMemfd },
		"no pool":         func(c *Config) { c.Pool = func(int64) (PoolMemory, error) { return nil, errors.New("no memory") } },
	} {
		c := n.config(t)
		change(&c)
		_, err := New(c).Plan(mem)
		if !errors.Is(err, transport.ErrUnavailable) {
			t.Errorf("%s: %v", what, err)
		}
		t.Logf("%s: %v", what, err)
	}
	p, err := New(n.config(t)).Plan(mem)
	if want := (transport.Plan{Path: uapi.PathDevmemTCP, MaxLen: MaxLen, Align: 1, Batch: lanes.Batch}); err != nil || p != want {
		t.Errorf("%+v, %v", p, err)
	}
}

func allocMemfd(size int64) (PoolMemory, error) {
	p, err := device.Open("memfd")
	if err != nil {
		return nil, fmt.Errorf("memfd: %w", err)
	}
	return p.Alloc(transport.Domain{}, size)
}

// TestNICBesideTCP reports how long the same takes over the same wire through
// host memory. The lab is emulated: only the ratio means something.
func TestNICBesideTCP(t *testing.T) {
	n := needNIC(t)
	b := newNICBench(t, n, n.listen, func(s *transport.Session) { s.Connections = 2 })
	g := newTarget(t, b.source)
	server := tcp.NewServer(g.sessions, transporttest.Ample(), slog.New(slog.DiscardHandler))
	g.session.Addr = n.listen(t, func(c net.Conn) { server.ServeConn(t.Context(), c, nil) })
	t.Cleanup(func() { server.Close() })
	g.session.Connections, g.session.Checksums = 2, true
	staged, err := tcp.New(false).Dial(t.Context(), g.session)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { staged.Close() })
	dev := deviceMemory(t, 16*extent)
	for range 3 {
		for _, l := range []transport.Link{b.link, staged} {
			before, begin := l.Stats().Devmem, time.Now()
			fetchAll(t, l, b.file, dev)
			took, s := time.Since(begin), l.Stats().Devmem
			t.Logf("16 MiB in %v, %d recvmsg, %d setsockopt", took, s.Recvmsgs-before.Recvmsgs, s.TokenCalls-before.TokenCalls)
		}
	}
}

func fetchAll(t *testing.T, l transport.Link, file transport.FileRef, dev transport.Memory) {
	t.Helper()
	a, err := l.Attach(t.Context(), dev)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	var ends []<-chan transport.Result
	for off := int64(0); off < dev.Size(); off += extent {
		ends = append(ends, submit(t, l, file, off, transport.Span{Mem: dev, Off: off, Len: extent}))
	}
	for _, end := range ends {
		if r := <-end; r.Err != nil {
			t.Fatal(r.Err)
		}
	}
}
