package devmemtcp

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hbmfs/fs/uapi"
	"hbmfs/transport"
	"hbmfs/transport/devmemtcp/internal/nic"
	"hbmfs/transport/devmemtcp/internal/receive"
	"hbmfs/transport/internal/frame"
	"hbmfs/transport/transporttest"
)

const extent = 1 << 20

// bench is a link over a NIC that is made up, to a target.
type bench struct {
	*loop
	t      testing.TB
	source *transporttest.Source
	target *target
	file   transport.FileRef
	tr     transport.Transport
	link   transport.Link
}

func newBench(t testing.TB, change ...func(*transport.Session)) *bench {
	t.Helper()
	b := &bench{loop: newLoop(t), t: t, source: transporttest.NewSource()}
	b.file = b.source.Add(1, 16*extent)
	b.start(New(b.config()), loopback, change)
	return b
}

// newNICBench is over a NIC.
func newNICBench(t testing.TB, n testNIC, listen listener, change ...func(*transport.Session)) *bench {
	t.Helper()
	b := &bench{t: t, source: transporttest.NewSource()}
	b.file = b.source.Add(1, 16*extent)
	b.start(New(n.config(t)), listen, change)
	return b
}

func (b *bench) start(tr transport.Transport, listen listener, change []func(*transport.Session)) {
	b.t.Helper()
	b.target = startTarget(b.t, b.source, listen)
	s := b.target.session
	s.Checksums = true
	for _, c := range change {
		c(&s)
	}
	b.tr, b.link = tr, dial(b.t, tr, s)
}

// dial connects to s until the test ends, and then sees whether all tokens were
// given back, and closes tr.
func dial(t testing.TB, tr transport.Transport, s transport.Session) transport.Link {
	t.Helper()
	l, err := tr.Dial(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if n := l.Stats().Devmem.Tokens; n != 0 {
			t.Errorf("%d tokens are left", n)
		}
		if err := tr.(io.Closer).Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// opened is a transport until the test ends.
func opened(t testing.TB, cfg Config) transport.Transport {
	tr := New(cfg)
	t.Cleanup(func() {
		if err := tr.(io.Closer).Close(); err != nil {
			t.Error(err)
		}
	})
	return tr
}

func attach(t testing.TB, l transport.Link, mem transport.Memory) {
	t.Helper()
	if _, err := l.Attach(t.Context(), mem); err != nil {
		t.Fatal(err)
	}
}

// submit insists until the link takes the request.
func submit(t testing.TB, l transport.Link, file transport.FileRef, off int64, dst transport.Span) <-chan transport.Result {
	t.Helper()
	ended := make(chan transport.Result, 2)
	r := &transport.Request{File: file, Off: off, Dst: dst, To: transporttest.Done(func(r transport.Result) { ended <- r })}
	for until := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		n, err := l.Submit([]*transport.Request{r})
		if n == 1 {
			return ended
		}
		if err != nil && !errors.Is(err, transport.ErrConnLost) || time.Now().After(until) {
			t.Fatalf("not taken: %v", err)
		}
	}
}

// fetch reads n bytes of the file into device memory, and returns it.
func (b *bench) fetch(off, n int64) (*transporttest.FakeDevice, transport.Result) {
	b.t.Helper()
	dev := transporttest.NewFakeDevice(b.t, n)
	attach(b.t, b.link, dev)
	return dev, <-submit(b.t, b.link, b.file, off, transport.Span{Mem: dev, Len: n})
}

// healthy fails the test unless a fetch works, directly.
func (b *bench) healthy() {
	b.t.Helper()
	for until := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		dev, r := b.fetch(4096, extent)
		if errors.Is(r.Err, transport.ErrConnLost) && time.Now().Before(until) {
			continue
		}
		if err := errors.Join(r.Err, transporttest.Check(dev.Read(0, extent), b.file, 4096)); err != nil {
			b.t.Fatal(err)
		}
		if r.Path != uapi.PathDevmemTCP || r.Why != uapi.WhyBest || r.HostCopies != 0 || r.DeviceCopies != 1 || !r.HasCRC {
			b.t.Errorf("%+v", r)
		}
		return
	}
}

// TestSpoiledReceives has the kernel say what it must not. The pair ends, what
// was to be filled is not seen, and the next pair works.
func TestSpoiledReceives(t *testing.T) {
	first := func(r *loopReceived) []byte { return r.control[:controlSize] }
	for what, c := range map[string]struct {
		spoil func(*loopReceived)
		want  error
	}{
		"outside of the pool": {func(r *loopReceived) { putOffset(first(r), 1<<40) }, receive.ErrControl},
		"unknown type":        {func(r *loopReceived) { first(r)[12] = unix.SCM_RIGHTS }, receive.ErrControl},
		"wrong binding":       {func(r *loopReceived) { first(r)[32]++ }, receive.ErrControl},
		"message missing":     {func(r *loopReceived) { r.controls -= controlSize; r.n += 0 }, receive.ErrControl},
		"cut message":         {func(r *loopReceived) { r.controls -= 8 }, receive.ErrControl},
		"cut by the kernel":   {func(r *loopReceived) { r.err = receive.ErrControl }, receive.ErrControl},
		"no memory":           {func(r *loopReceived) { r.err = unix.ENOMEM }, unix.ENOMEM},
		"a token twice":       {func(r *loopReceived) { copy(r.control[controlSize+28:][:4], r.control[28:32]) }, receive.ErrTokens},
		"a token not ours":    {func(r *loopReceived) { r.control[31] ^= 0x40 }, receive.ErrTokens},
	} {
		t.Run(what, func(t *testing.T) {
			b := newBench(t)
			b.spoil(func(r *loopReceived) {
				if r.controls == controlSize {
					b.spoils = append(b.spoils, c.spoil)
					return
				}
				c.spoil(r)
			})
			dev, r := b.fetch(0, extent)
			if errors.Is(c.want, receive.ErrTokens) && r.Err == nil {
				b.healthy() // the bytes were in place before their tokens were seen to be wrong
			} else if !errors.Is(r.Err, transport.ErrConnLost) || !errors.Is(r.Err, c.want) {
				t.Errorf("ended with %v", r.Err)
			} else if !transporttest.Scribbled(dev.Read(0, extent)) {
				t.Error("the device sees what failed")
			}
			b.healthy()
			if s := b.link.Stats(); s.Reconnects == 0 {
				t.Errorf("the pair was not replaced: %+v", s)
			}
		})
	}
}

func putOffset(b []byte, off uint64) {
	putControl(b, unix.SOL_SOCKET, unix.SCM_DEVMEM_DMABUF, control{off: off, size: 1, token: 1, id: loopBinding})
}

// TestNotSteered has payload come to host memory, all or some of it.
func TestNotSteered(t *testing.T) {
	for what, c := range map[string]struct {
		spoil func(*loopReceived)
		count func(transport.DevmemStats) int64
	}{
		"another queue": {func(r *loopReceived) { r.linear(false) }, func(s transport.DevmemStats) int64 { return s.HostBytes }},
		"not split":     {func(r *loopReceived) { r.linear(true) }, func(s transport.DevmemStats) int64 { return s.LinearBytes }},
	} {
		t.Run(what, func(t *testing.T) {
			b := newBench(t)
			b.spoil(func(*loopReceived) {})
			b.spoil(c.spoil)
			dev, r := b.fetch(8, 4*extent)
			if err := errors.Join(r.Err, transporttest.Check(dev.Read(0, 4*extent), b.file, 8)); err != nil {
				t.Fatal(err)
			}
			if r.Path != uapi.PathStaged || r.Why != uapi.WhyNotSteered || r.HostCopies != 1 || r.DeviceCopies != 1 {
				t.Errorf("%+v", r)
			}
			if s := b.link.Stats().Devmem; c.count(s) == 0 || s.DeviceBytes+s.HostBytes+s.LinearBytes != 4*extent {
				t.Errorf("%+v", s)
			}
			b.healthy()
			if s := b.link.Stats(); s.Reconnects != 0 {
				t.Errorf("the pair was replaced: %+v", s)
			}
		})
	}
}

// TestRequireDirect fails what passed through host memory, into device memory
// only.
func TestRequireDirect(t *testing.T) {
	b := newBench(t, func(s *transport.Session) { s.RequireDirect = true })
	b.spoil(func(r *loopReceived) { r.linear(false) })
	dev, r := b.fetch(0, extent)
	if !errors.Is(r.Err, transport.ErrNotDirect) || errors.Is(r.Err, transport.ErrConnLost) || r.Path != uapi.PathNone {
		t.Errorf("%+v", r)
	}
	if !transporttest.Scribbled(dev.Read(0, extent)) {
		t.Error("the device sees what failed")
	}
	b.spoil(func(r *loopReceived) { r.linear(false) })
	buf, r := b.link.Read(t.Context(), b.file, 0, extent)
	if r.Err != nil || r.Why != uapi.WhyPlainRead {
		t.Fatalf("plain read: %+v", r)
	}
	if err := transporttest.Check(buf.Bytes(), b.file, 0); err != nil {
		t.Error(err)
	}
	buf.Release()
	b.healthy()
}

// TestTargetDies ends the target with transfers in all stages under way.
func TestTargetDies(t *testing.T) {
	b := newBench(t)
	dev := transporttest.NewFakeDevice(t, 8*extent)
	attach(t, b.link, dev)
	dev.Pause()
	var ends []<-chan transport.Result
	for i := range int64(8) {
		ends = append(ends, submit(t, b.link, b.file, i*extent, transport.Span{Mem: dev, Off: i * extent, Len: extent}))
	}
	dev.Waiting(gathersPerConn)
	held := b.link.Stats().Devmem.Tokens
	if held == 0 || held > gathersPerConn*fragmentsPerGather {
		t.Errorf("%d tokens held for a device that does not copy", held)
	}
	b.target.server.Close()
	dev.Resume()
	lost := 0
	for i, end := range ends {
		r := <-end
		if r.Err == nil {
			if err := transporttest.Check(dev.Read(int64(i)*extent, extent), b.file, int64(i)*extent); err != nil {
				t.Error(err)
			}
			continue
		}
		if lost++; !errors.Is(r.Err, transport.ErrConnLost) {
			t.Error(r.Err)
		}
	}
	if lost == 0 {
		t.Error("no transfer noticed")
	}
}

// TestCloseWaitsForTheDevice closes a link whose device has yet to copy: until it
// has, the NIC may not write to what it copies from, so the socket stays open.
func TestCloseWaitsForTheDevice(t *testing.T) {
	b := newBench(t)
	dev := transporttest.NewFakeDevice(t, 4*extent)
	attach(t, b.link, dev)
	dev.Pause()
	end := submit(t, b.link, b.file, 0, transport.Span{Mem: dev, Len: 4 * extent})
	small := submit(t, b.link, b.file, 0, transport.Span{Mem: dev, Len: 4096})
	dev.Waiting(gathersPerConn)
	closed := make(chan error)
	go func() { closed <- b.link.Close() }()
	for b.link.Stats().Connections > 0 {
		time.Sleep(time.Millisecond)
	}
	select {
	case err := <-closed:
		t.Fatalf("closed while the device copies: %v", err)
	case r := <-end:
		t.Fatalf("done while the device copies: %+v", r)
	case <-time.After(50 * time.Millisecond):
	}
	b.mu.Lock()
	if len(b.live) != 1 {
		t.Errorf("%d sockets", len(b.live))
	}
	b.mu.Unlock()
	dev.Resume()
	if err := <-closed; err != nil {
		t.Error(err)
	}
	for _, c := range []<-chan transport.Result{end, small} {
		if r := <-c; !errors.Is(r.Err, transport.ErrClosed) {
			t.Errorf("%+v", r)
		}
	}
	if !transporttest.Scribbled(dev.Read(0, 4*extent)) {
		t.Error("the device sees what failed")
	}
}

// TestPoolIsBounded has one device stall: what it holds is bounded, and another
// pair goes on.
func TestPoolIsBounded(t *testing.T) {
	b := newBench(t, func(s *transport.Session) { s.Connections = 2 })
	slow := transporttest.NewFakeDevice(t, 16*extent)
	attach(t, b.link, slow)
	slow.Pause()
	end := submit(t, b.link, b.file, 0, transport.Span{Mem: slow, Len: 16 * extent})
	slow.Waiting(gathersPerConn)
	for range 10 {
		b.healthy()
	}
	if n := b.link.Stats().Devmem.Tokens; n == 0 || n > gathersPerConn*fragmentsPerGather {
		t.Errorf("%d tokens", n)
	}
	slow.Resume()
	if r := <-end; r.Err != nil {
		t.Fatal(r.Err)
	}
	if err := transporttest.Check(slow.Read(0, 16*extent), b.file, 0); err != nil {
		t.Error(err)
	}
}

// TestSlowDeviceIsNotBlamed on the target: this host's device takes twice as long as a
// target may, which is more than a busy machine does.
func TestSlowDeviceIsNotBlamed(t *testing.T) {
	b := newBench(t, func(s *transport.Session) { s.Timeout = 2 * time.Second })
	dev := transporttest.NewFakeDevice(t, 16*extent)
	attach(t, b.link, dev)
	dev.Pause()
	large := submit(t, b.link, b.file, 0, transport.Span{Mem: dev, Len: 8 * extent})
	small := submit(t, b.link, b.file, 8*extent, transport.Span{Mem: dev, Off: 8 * extent, Len: extent})
	dev.Waiting(gathersPerConn)
	time.Sleep(4 * time.Second)
	dev.Resume()
	for _, end := range []<-chan transport.Result{large, small} {
		if r := <-end; r.Err != nil {
			t.Error(r.Err)
		}
	}
	if err := transporttest.Check(dev.Read(0, 9*extent), b.file, 0); err != nil {
		t.Error(err)
	}
}

// TestNICIsSetUpAnew has somebody change the NIC underneath: who is told so by
// payload in host memory says so, and has all pairs be replaced.
func TestNICIsSetUpAnew(t *testing.T) {
	for _, direct := range []bool{false, true} {
		b := newBench(t, func(s *transport.Session) { s.Connections, s.RequireDirect = 2, direct })
		b.healthy()
		b.mu.Lock()
		b.sound = fmt.Errorf("loop: %w: split is off", nic.ErrChanged)
		b.mu.Unlock()
		b.spoil(func(r *loopReceived) { r.linear(false) })
		_, r := b.fetch(0, extent)
		if direct && !errors.Is(r.Err, transport.ErrNotDirect) || !direct && (r.Err != nil || r.Why != uapi.WhyNotSteered) {
			t.Errorf("direct %t: %+v", direct, r)
		}
		for until := time.Now().Add(20 * time.Second); b.link.Stats().Reconnects < 2 && time.Now().Before(until); {
			time.Sleep(time.Millisecond)
		}
		b.mu.Lock()
		if b.opened != 2 || b.sound != nil {
			t.Errorf("opened %d times, %v", b.opened, b.sound)
		}
		b.mu.Unlock()
		b.healthy()
	}
}

// TestChangedNICIsNotJoined loses one of two pairs after somebody changed the NIC:
// the other is replaced too.
func TestChangedNICIsNotJoined(t *testing.T) {
	b := newBench(t, func(s *transport.Session) { s.Connections = 2 })
	b.mu.Lock()
	b.sound = fmt.Errorf("loop: %w: split is off", nic.ErrChanged)
	b.mu.Unlock()
	b.spoil(func(r *loopReceived) { r.err = unix.ENOMEM })
	if _, r := b.fetch(0, extent); !errors.Is(r.Err, unix.ENOMEM) {
		t.Errorf("%+v", r)
	}
	for until := time.Now().Add(20 * time.Second); b.link.Stats().Reconnects < 2 && time.Now().Before(until); {
		time.Sleep(time.Millisecond)
	}
	b.mu.Lock()
	if b.opened != 2 {
		t.Errorf("opened %d times", b.opened)
	}
	b.mu.Unlock()
	b.healthy()
}

// TestNICIsKept between links, and not taken for a target that is not there.
func TestNICIsKept(t *testing.T) {
	n := newLoop(t)
	tr := opened(t, n.config())
	g := startTarget(t, transporttest.NewSource(), loopback)
	nowhere, stranger := g.session, g.session
	nowhere.Addr = "127.0.0.1:1"
	stranger.Secret[0] ^= 1
	for _, s := range []transport.Session{nowhere, stranger} {
		if l, err := tr.Dial(t.Context(), s); err == nil {
			l.Close()
			t.Error("connected")
		}
	}
	if n.opened != 0 {
		t.Errorf("opened %d times for no target", n.opened)
	}
	mem := transporttest.NewFakeDevice(t, 1)
	for want := range 3 {
		if _, err := tr.Plan(mem); err != nil {
			t.Fatal(err)
		}
		l, err := tr.Dial(t.Context(), g.session)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if n.opened != 2 {
			t.Errorf("opened %d times for one Plan and %d links", n.opened, want+1)
		}
	}
	if err := tr.(io.Closer).Close(); err != nil {
		t.Error(err)
	}
	if _, err := tr.Dial(t.Context(), g.session); !errors.Is(err, transport.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

// TestCloseWithLinks is refused: their payload still comes by the NIC.
func TestCloseWithLinks(t *testing.T) {
	n := newLoop(t)
	tr := New(n.config())
	dial(t, tr, startTarget(t, transporttest.NewSource(), loopback).session)
	if err := tr.(io.Closer).Close(); err == nil {
		t.Error("closed under a link")
	}
}

// TestChecksumOfFailed has a target send other bytes than it says, for a request
// that has failed already: the pair is of no more use all the same.
func TestChecksumOfFailed(t *testing.T) {
	s := fakePeer(t, func(head, data net.Conn) {
		for {
			r, err := ask(head)
			if err != nil {
				return
			}
			b := make([]byte, frame.ReplySize)
			frame.Reply{ID: r.ID, Length: r.Length, Checksum: true, CRC: 1}.Put(b)
			head.Write(b)
			data.Write(make([]byte, r.Length))
		}
	})
	s.Checksums, s.RequireDirect = true, true
	n := newLoop(t)
	l := dial(t, New(n.config()), s)
	n.spoil(func(r *loopReceived) { r.linear(false) })
	dev := transporttest.NewFakeDevice(t, 100)
	attach(t, l, dev)
	if r := <-submit(t, l, transport.FileRef{}, 0, transport.Span{Mem: dev, Len: 100}); !errors.Is(r.Err, transport.ErrNotDirect) {
		t.Errorf("%+v", r)
	}
	for until := time.Now().Add(20 * time.Second); l.Stats().Reconnects == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(until) {
			t.Fatal("the pair was not replaced")
		}
	}
}

// TestNICGoesAndReturns takes the NIC away: requests are told why, and the link
// works again once it is back.
func TestNICGoesAndReturns(t *testing.T) {
	b := newBench(t)
	b.healthy()
	set := func(err error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.sound, b.gone = err, err
	}
	set(fmt.Errorf("loop: %w", nic.ErrNoNIC))
	b.target.drop()
	mem := transporttest.NewMapped(1)
	attach(t, b.link, mem)
	for until := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		r := &transport.Request{File: b.file, Dst: transport.Span{Mem: mem, Len: 1}, To: transporttest.Done(func(transport.Result) {})}
		_, err := b.link.Submit([]*transport.Request{r})
		if err != nil && strings.Contains(err.Error(), nic.ErrNoNIC.Error()) {
			if !errors.Is(err, transport.ErrConnLost) {
				t.Error(err)
			}
			break
		} else if time.Now().After(until) {
			t.Fatalf("not told why: %v", err)
		}
	}
	set(nil)
	b.healthy()
}

// TestIPv6 goes by it.
func TestIPv6(t *testing.T) {
	b := &bench{loop: newLoop(t), t: t, source: transporttest.NewSource()}
	b.file = b.source.Add(1, 16*extent)
	b.start(New(b.config()), func(t testing.TB, serve func(net.Conn)) string {
		ln, err := net.Listen("tcp", "[::1]:0")
		if err != nil {
			unsupported(t, err.Error())
		}
		return transporttest.Accept(t, ln, serve)
	}, nil)
	b.healthy()
}

func TestPageSegment(t *testing.T) {
	for _, c := range []struct {
		mtu  int
		v6   bool
		want int
	}{
		{1500, false, 0}, {4147, false, 0}, {4148, false, 4108}, {4148, true, 0}, {9000, false, 8204}, {9000, true, 8204}, {0, true, 0},
	} {
		if got := pageSegment(c.mtu, c.v6); got != c.want {
			t.Errorf("MTU %d, IPv6 %t: %d, want %d", c.mtu, c.v6, got, c.want)
		}
	}
}
