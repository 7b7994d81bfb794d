package tests

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"hbmfs/fs/uapi"
	"hbmfs/integration/lab/agent"
	"hbmfs/integration/lab/guest"
)

// The test NIC's pair joins this guest (mem1) with a network namespace of its
// own (mem0), in which the target runs.
const (
	farNS      = "far"
	farAddr    = "10.79.0.1"
	nearAddr   = "10.79.0.2"
	farAddr6   = "fd79::1"
	nearAddr6  = "fd79::2"
	takenQueue = 2 // the first of the two that mounts here take, of four
)

// pair is the test NIC, loaded.
type pair struct {
	t     *testing.T
	local *guest.Host
}

// newPair loads the test NIC. The end of the test unloads it.
func newPair(t *testing.T) *pair {
	t.Helper()
	p := &pair{t, guest.Local(t)}
	p.run("insmod", os.Getenv("HBMFS_MEMNIC"))
	t.Cleanup(func() { p.run("rmmod", "memnic") })
	p.run("ip", "netns", "add", farNS)
	t.Cleanup(func() { p.run("ip", "netns", "delete", farNS) })
	p.run("ip", "link", "set", "mem0", "netns", farNS)
	p.run("ip", "netns", "exec", farNS, "ip", "link", "set", "lo", "up")
	p.wire("mem0", farAddr, farAddr6, "ip", "-n", farNS)
	p.wire("mem1", nearAddr, nearAddr6, "ip")
	return p
}

func (p *pair) wire(dev, addr, addr6 string, ip ...string) {
	p.t.Helper()
	p.run(append(ip, "link", "set", dev, "mtu", "9000", "up")...)
	p.run(append(ip, "addr", "add", addr+"/24", "dev", dev)...)
	p.run(append(ip, "addr", "add", addr6+"/64", "dev", dev, "nodad")...)
}

func (p *pair) run(argv ...string) string {
	p.t.Helper()
	return p.local.Run(p.t, argv...)
}

// target serves files as startTarget does, in the far namespace.
func (p *pair) target(addr string, files ...string) *target {
	p.t.Helper()
	tg := &target{peer: p.local, args: []string{"ip", "netns", "exec", farNS,
		program(p.t), "serve", "--insecure", "--listen", "[" + addr + "]:7070", "data=" + exportDir}}
	p.run("rm", "-rf", exportDir)
	for i := range files {
		files[i] = exportDir + "/" + files[i]
	}
	w := p.local.StartCommand(p.t, child(p.t, "write", files...))
	if exit := w.Wait(p.t); exit != (agent.Exit{}) {
		p.t.Fatalf("writing files: %v\n%s", exit, w.Output())
	}
	tg.start(p.t)
	return tg
}

// mount mounts by devmem-tcp into dma-bufs and refuses anything else.
func (p *pair) mount(addr string, flags ...string) *mount {
	p.t.Helper()
	flags = append([]string{"--transport", "devmem-tcp", "--nic", "mem1", "--queues", "2", "--require-direct",
		"--device", "udmabuf", "--pool", smallPool}, flags...)
	m := mountFrom(p.t, "["+addr+"]:7070", flags...)
	m.path = uapi.PathDevmemTCP
	return m
}

// counters are the test NIC's own, of the receive queues that a mount took.
type counters struct{ split, dmabuf, host, drops int64 }

func (p *pair) counters() (c counters) {
	p.t.Helper()
	for line := range strings.Lines(p.run("ethtool", "-S", "mem1")) {
		name, value, found := strings.Cut(strings.TrimSpace(line), ": ")
		queue, kind, _ := strings.Cut(strings.TrimPrefix(name, "rx"), "_")
		n, err := strconv.ParseInt(value, 10, 64)
		if q, qErr := strconv.Atoi(queue); !found || err != nil || qErr != nil || q < takenQueue {
			continue
		}
		switch kind {
		case "split_packets":
			c.split += n
		case "dmabuf_bytes":
			c.dmabuf += n
		case "host_bytes":
			c.host += n
		case "nomem_drops":
			c.drops += n
		}
	}
	return c
}

func (c counters) minus(o counters) counters {
	return counters{c.split - o.split, c.dmabuf - o.dmabuf, c.host - o.host, c.drops - o.drops}
}

// TestDevmemFetch fetches a file that is larger than the pool, over IPv4 and
// IPv6. The transport and the NIC must agree on where the payload went.
func TestDevmemFetch(t *testing.T) {
	for _, addr := range []string{farAddr, farAddr6} {
		t.Run(addr, func(t *testing.T) {
			p := newPair(t)
			p.target(addr, big(1, 1))
			m := p.mount(addr)
			before := p.counters()
			m.fetchAll(t, "f1", 1, 1)
			s, nic := m.stats(t), p.counters().minus(before)
			d := s.Target.Link.Devmem
			if d.DeviceBytes != fileSize || d.HostBytes != 0 || d.LinearBytes != 0 || d.Tokens != 0 {
				t.Errorf("the transport counted %+v", d)
			}
			if nic.dmabuf < fileSize || nic.host != 0 {
				t.Errorf("the NIC counted %+v", nic)
			}
			t.Logf("%d bytes in %d fragments, %d recvmsg and %d token calls for %d MiB",
				d.DeviceBytes, d.Fragments, d.Recvmsgs, d.TokenCalls, fileSize>>20)
		})
	}
}

// TestDevmemPlainRead: read(2) asks for host copies, and gets the same bytes.
func TestDevmemPlainRead(t *testing.T) {
	p := newPair(t)
	p.target(farAddr, big(2, 1))
	m := p.mount(farAddr)
	got, err := os.ReadFile(m.dir + "/data/f2")
	if err == nil {
		err = wrongWords(got, 2, 1, 0)
	}
	if err != nil || len(got) != fileSize {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
}

// TestDevmemSoak: mixed sizes, several readers, every word checked.
func TestDevmemSoak(t *testing.T) {
	p := newPair(t)
	p.target(farAddr, big(1, 1), big(2, 1))
	m := p.mount(farAddr)
	before := p.counters()
	l := startLoad(t, 6, false, m.open(t, "f1", 1, 1), m.open(t, "f2", 2, 1))
	soak := guest.Soak(t, time.Minute)
	select {
	case <-time.After(soak):
	case <-t.Context().Done():
	}
	l.stop()
	p.settled(m)
	d, nic := m.stats(t).Target.Link.Devmem, p.counters().minus(before)
	t.Logf("%v: %d fetches, %d MiB checked, %d MiB by devmem-tcp, 0 wrong words; NIC: %+v",
		soak, l.fetches.Load(), l.bytes.Load()>>20, d.DeviceBytes>>20, nic)
	if d.HostBytes != 0 || d.LinearBytes != 0 || nic.host != 0 {
		t.Errorf("payload went the host way: transport %+v, NIC %+v", d, nic)
	}
}

// settled fails the test unless the mount is at rest: no lease, transfer,
// quarantined extent or fragment outstanding.
func (p *pair) settled(m *mount) {
	p.t.Helper()
	eventually(p.t, 30*time.Second, "the mount is at rest", func() error {
		s := m.stats(p.t)
		if err := m.atRest(s); err != nil {
			return err
		}
		if n := s.Target.Link.Devmem.Tokens; n != 0 {
			return fmt.Errorf("%d fragments not given back", n)
		}
		return nil
	})
}

// TestDevmemTargetKilled: the target dies under load and comes back.
func TestDevmemTargetKilled(t *testing.T) {
	p := newPair(t)
	tg := p.target(farAddr, big(1, 1))
	m := p.mount(farAddr)
	l := startLoad(t, 4, true, m.open(t, "f1", 1, 1))
	l.advance(5, time.Minute)
	before := m.busy(t)
	p.run("ip", "netns", "exec", farNS, "pkill", "-9", "-f", "hbmfs serve")
	tg.Wait(t)
	tg.start(t)
	took := l.advance(20, time.Minute)
	l.stop()
	t.Logf("%d in flight when the target was killed; 20 fetches %v after it was back; %d fetches failed",
		before.Target.Link.InFlight, took, l.failed.Load())
	p.settled(m)
}

// TestDevmemMountKilled: what a killed mount changed on the NIC is put back by
// doctor --restore, and the queues can be taken again.
func TestDevmemMountKilled(t *testing.T) {
	p := newPair(t)
	p.target(farAddr, big(1, 1))
	untouched := p.settings()
	m := p.mount(farAddr)
	l := startLoad(t, 4, true, m.open(t, "f1", 1, 1))
	l.advance(5, time.Minute)
	m.busy(t)
	m.Kill(t)
	l.stop()
	m.Wait(t)
	if out := p.run(program(t), "doctor", "--restore"); !strings.Contains(out, "mem1") {
		t.Errorf("doctor --restore: %s", out)
	}
	if now := p.settings(); now != untouched {
		t.Errorf("the NIC's settings are\n%s\nbefore the mount they were\n%s", now, untouched)
	}
	p.mount(farAddr).fetchAll(t, "f1", 1, 1)
}

// settings is what a mount changes on the NIC.
func (p *pair) settings() string {
	p.t.Helper()
	return p.run("sh", "-c", "ethtool -g mem1; ethtool -x mem1; ethtool -n mem1; ethtool -k mem1 | grep ntuple")
}

// TestDevmemUnmounted: a mount that ends in order puts the NIC back itself.
func TestDevmemUnmounted(t *testing.T) {
	p := newPair(t)
	p.target(farAddr, big(1, 1))
	untouched := p.settings()
	m := p.mount(farAddr)
	m.fetchAll(t, "f1", 1, 1)
	m.Signal(t, syscall.SIGTERM)
	m.Wait(t)
	if now := p.settings(); now != untouched {
		t.Errorf("the NIC's settings are\n%s\nbefore the mount they were\n%s", now, untouched)
	}
}

// TestDevmemLinkDown: the link goes down under load while queues are bound.
func TestDevmemLinkDown(t *testing.T) {
	p := newPair(t)
	p.target(farAddr, big(1, 1))
	m := p.mount(farAddr)
	l := startLoad(t, 4, true, m.open(t, "f1", 1, 1))
	l.advance(5, time.Minute)
	before := m.busy(t)
	p.run("ip", "link", "set", "mem1", "down")
	time.Sleep(3 * time.Second)
	p.run("ip", "link", "set", "mem1", "up")
	took := l.advance(20, time.Minute)
	l.stop()
	t.Logf("%d in flight when the link went down; 20 fetches %v after it was up; %d fetches failed",
		before.Target.Link.InFlight, took, l.failed.Load())
	p.settled(m)
}

// TestDevmemRuleRemoved: somebody removes the flow rules. What comes then goes
// the host way: it is reported, or refused with --require-direct. Then the mount
// has the NIC set up anew by itself.
func TestDevmemRuleRemoved(t *testing.T) {
	t.Run("reported", func(t *testing.T) {
		p, m := unsteered(t)
		f := m.open(t, "f1", 1, 1)
		r, err := f.fetch(t.Context(), 0, 4*megabyte)
		if err != nil {
			t.Fatal(err)
		}
		if r.Path != uapi.PathStaged || r.Why != uapi.WhyNotSteered {
			t.Errorf("came by %v (%v)", r.Path, r.Why)
		}
		if d := m.stats(t).Target.Link.Devmem; d.HostBytes == 0 {
			t.Errorf("counted %+v", d)
		}
		p.directAgain(m)
	})
	t.Run("refused", func(t *testing.T) {
		p, m := unsteered(t, "--require-direct")
		f := m.open(t, "f1", 1, 1)
		if _, err := f.fetch(t.Context(), 0, 4*megabyte); !errors.Is(err, syscall.EREMOTEIO) {
			t.Errorf("%v", err)
		}
		p.directAgain(m)
	})
}

// TestDevmemUnsplit: under load, the NIC begins to leave the first bytes of
// payload with the headers, though split is on. They are counted, placed and
// reported, or refused with --require-direct; and fetches are direct again once
// it splits.
func TestDevmemUnsplit(t *testing.T) {
	for _, k := range []struct {
		what  string
		flags []string
		want  error
	}{{"reported", nil, nil}, {"refused", []string{"--require-direct"}, syscall.EREMOTEIO}} {
		t.Run(k.what, func(t *testing.T) {
			p := newPair(t)
			p.target(farAddr, big(1, 1))
			m := p.devmemMount(k.flags...)
			f := m.open(t, "f1", 1, 1)
			ctx, stop := context.WithCancel(t.Context())
			var fetches outcomes
			var readers sync.WaitGroup
			for i := range int64(4) {
				readers.Go(func() { fetches.run(ctx, t, f, i*megabyte, k.want) })
			}
			defer readers.Wait()
			defer stop()
			until := func(n *atomic.Int64) {
				from := n.Load()
				eventually(t, 30*time.Second, "20 fetches", func() error {
					if got := n.Load() - from; got < 20 {
						return fmt.Errorf("%d", got)
					}
					return nil
				})
			}
			until(&fetches.direct)
			inFlight := m.busy(t).Target.Link.InFlight
			p.unsplit("1")
			until(&fetches.otherwise)
			p.unsplit("0")
			until(&fetches.direct)
			stop()
			readers.Wait()
			d := m.stats(t).Target.Link.Devmem
			if d.LinearBytes == 0 || d.HostBytes != 0 {
				t.Errorf("counted %+v", d)
			}
			t.Logf("%d in flight when it began; %d bytes with the headers, %d fetches direct and %d not", inFlight, d.LinearBytes, fetches.direct.Load(), fetches.otherwise.Load())
			p.settled(m)
		})
	}
}

// outcomes counts fetches while a fault comes and goes.
type outcomes struct{ direct, otherwise atomic.Int64 }

// run fetches from off on until ctx ends. Fetches that are not direct must fail
// with want; if that is nil, say that the NIC did not put them there.
func (o *outcomes) run(ctx context.Context, t *testing.T, f *file, off int64, want error) {
	for ; ctx.Err() == nil; off = (off + 5*megabyte) % fileSize {
		r, err := f.fetch(ctx, off, megabyte)
		staged := err == nil && r.Path == uapi.PathStaged && r.Why == uapi.WhyNotSteered
		switch {
		case ctx.Err() != nil:
		case err == nil && r.Path == uapi.PathDevmemTCP:
			o.direct.Add(1)
		case want == nil && staged, want != nil && errors.Is(err, want):
			o.otherwise.Add(1)
		default:
			t.Errorf("%+v, %v", r, err)
		}
	}
}

// unsplit switches the NIC's fault on and off.
func (p *pair) unsplit(value string) {
	p.t.Helper()
	if err := os.WriteFile("/sys/module/memnic/parameters/unsplit", []byte(value), 0); err != nil {
		p.t.Fatal(err)
	}
}

// directAgain fails the test unless a mount soon fetches all of f1 directly, of
// which it must not have cached all.
func (p *pair) directAgain(m *mount) {
	p.t.Helper()
	f := m.open(p.t, "f1", 1, 1)
	off := int64(4 * megabyte)
	eventually(p.t, 10*time.Second, "fetches are direct again", func() error {
		r, err := f.fetch(p.t.Context(), off, megabyte)
		if off = (off + megabyte) % fileSize; err != nil {
			return err
		}
		if r.Path != uapi.PathDevmemTCP {
			return fmt.Errorf("came by %v (%v)", r.Path, r.Why)
		}
		return nil
	})
	before := m.stats(p.t).Target.Link.Devmem
	for range 16 {
		if r, err := f.fetch(p.t.Context(), off, megabyte); err != nil || r.Path != uapi.PathDevmemTCP {
			p.t.Fatalf("direct only once: %+v, %v", r, err)
		}
		off = (off + megabyte) % fileSize
	}
	if after := m.stats(p.t).Target.Link.Devmem; after.DeviceBytes == before.DeviceBytes || after.HostBytes != before.HostBytes {
		p.t.Errorf("counted %+v, and before %+v", after, before)
	}
}

// devmemMount mounts by devmem-tcp, and takes what comes otherwise.
func (p *pair) devmemMount(flags ...string) *mount {
	p.t.Helper()
	flags = append([]string{"--transport", "devmem-tcp", "--nic", "mem1", "--queues", "2", "--device", "udmabuf", "--pool", smallPool}, flags...)
	return mountFrom(p.t, farAddr+":7070", flags...)
}

// unsteered is a mount whose flow rules are gone.
func unsteered(t *testing.T, flags ...string) (*pair, *mount) {
	t.Helper()
	p := newPair(t)
	p.target(farAddr, big(1, 1))
	m := p.devmemMount(flags...)
	rules := p.run("ethtool", "-n", "mem1")
	n := 0
	for line := range strings.Lines(rules) {
		if id, found := strings.CutPrefix(strings.TrimSpace(line), "Filter: "); found {
			p.run("ethtool", "-N", "mem1", "delete", id)
			n++
		}
	}
	if n == 0 {
		t.Fatalf("no rules:\n%s", rules)
	}
	return p, m
}

// TestDevmemRemoved: the NIC goes away under load. Requests fail, and the mount
// can still be taken down.
func TestDevmemRemoved(t *testing.T) {
	p := newPair(t)
	p.target(farAddr, big(1, 1))
	m := p.mount(farAddr)
	l := startLoad(t, 4, true, m.open(t, "f1", 1, 1))
	l.advance(5, time.Minute)
	m.busy(t)
	p.run("rmmod", "memnic")
	eventually(t, time.Minute, "fetches fail", func() error {
		if l.failed.Load() == 0 {
			return errors.New("none has")
		}
		return nil
	})
	l.stop()
	m.Signal(t, syscall.SIGTERM)
	if exit := m.Wait(t); exit.Signal != 0 {
		t.Errorf("%+v", exit)
	}
	p.run("insmod", os.Getenv("HBMFS_MEMNIC")) // for the end of the test
}

// TestDevmemRefused: what can't be had is refused at mount, with the reason.
func TestDevmemRefused(t *testing.T) {
	p := newPair(t)
	p.target(farAddr, big(1, 1))
	untouched := p.settings()
	for name, c := range map[string]struct {
		flags []string
		says  string
	}{
		"no NIC":      {[]string{"--nic", "none0"}, "none0"},
		"NIC not fit": {[]string{"--nic", "lab0"}, "lab0"},
		"all queues":  {[]string{"--nic", "mem1", "--queues", "4"}, "queue"},
		"many queues": {[]string{"--nic", "mem1", "--queues", "4000"}, "queue"},
		"no name":     {nil, "--nic"},
	} {
		t.Run(name, func(t *testing.T) {
			args := append([]string{program(t), "mount", "--transport", "devmem-tcp", "--require-direct"}, c.flags...)
			m := p.local.Start(t, append(args, farAddr+":7070", t.TempDir())...)
			if exit := m.Wait(t); exit.Code != exitTransport || !strings.Contains(m.Output(), c.says) {
				t.Errorf("%+v: %s", exit, m.Output())
			}
		})
	}
	t.Run("taken", func(t *testing.T) {
		first := (&pair{t, p.local}).mount(farAddr)
		m := p.local.Start(t, program(t), "mount", "--transport", "devmem-tcp", "--nic", "mem1", farAddr+":7070", t.TempDir())
		if exit := m.Wait(t); exit.Code != exitTransport || !strings.Contains(m.Output(), strconv.Itoa(first.pid(t))) {
			t.Errorf("%+v: %s", exit, m.Output())
		}
	})
	t.Run("auto", func(t *testing.T) {
		m := mountFrom(t, farAddr+":7070", "--device", "udmabuf", "--pool", smallPool, "--nic", "lab0")
		r, err := m.open(t, "f1", 1, 1).fetch(t.Context(), 0, megabyte)
		if err != nil {
			t.Fatal(err)
		}
		if r.Path != uapi.PathStaged || r.Why != uapi.WhyNoDirect {
			t.Errorf("came by %v (%v)", r.Path, r.Why)
		}
		if stat := p.run(program(t), "stat", m.dir); !strings.Contains(stat, "lab0") {
			t.Errorf("stat does not say why not by devmem-tcp:\n%s", stat)
		}
	})
	if now := p.settings(); now != untouched {
		t.Errorf("the NIC's settings are\n%s\nbefore they were\n%s", now, untouched)
	}
}

func (m *mount) pid(t *testing.T) int { return m.stats(t).PID }
