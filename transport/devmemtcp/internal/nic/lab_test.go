package nic

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// tell is what a program of the system says.
func tell(t *testing.T, argv ...string) string {
	t.Helper()
	out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v: %s", argv, err, out)
	}
	return string(out)
}

// setting is all of the NIC that may change, as ethtool tells it.
func setting(t *testing.T, name string) string {
	t.Helper()
	var all strings.Builder
	for _, what := range []string{"-g", "-x", "-n", "-k", "-l"} {
		all.WriteString(tell(t, "ethtool", what, name))
	}
	return all.String()
}

// unchanged has the test end with the NIC as it is now.
func unchanged(t *testing.T, name string) {
	t.Helper()
	before := setting(t, name)
	t.Cleanup(func() {
		if after := setting(t, name); after != before {
			t.Errorf("before\n%s\nafter\n%s", before, after)
		}
	})
}

func labOpen(t *testing.T, name string, queues int) *NIC {
	t.Helper()
	n, err := Open(Config{Name: name, Queues: queues, StateDir: t.TempDir()})
	check(t, err)
	t.Cleanup(func() { check(t, n.Close()) })
	return n
}

func labDMABuf(t *testing.T) int {
	t.Helper()
	r, err := newRegion()
	check(t, err)
	t.Cleanup(func() { r.Close() })
	fd, _, _ := r.DMABuf()
	return fd
}

// bound gives the bindings of the queues, as the kernel tells them.
func bound(t *testing.T, name string) (ids []uint32) {
	t.Helper()
	k := must(openSockets())(t)
	defer k.Close()
	l := must(k.linkNamed(name))(t)
	for _, q := range must(k.queues(l))(t) {
		ids = append(ids, q.DMABuf)
	}
	return ids
}

func TestLabOpenAndClose(t *testing.T) {
	name := labNIC(t)
	unchanged(t, name)
	n := labOpen(t, name, 2)
	all := bound(t, name)
	last := len(all) - 1
	if got := n.Queues(); !slices.Equal(got, []int{last - 1, last}) {
		t.Errorf("queues %v of %d", got, len(all))
	}
	if ring, err := n.RingSize(); err != nil || ring < 16 || n.MTU() < 1500 {
		t.Errorf("ring %d, MTU %d, %v", ring, n.MTU(), err)
	}
	now := setting(t, name)
	if !strings.Contains(now, "ntuple-filters: on") {
		t.Error("n-tuple filters are off")
	}
	if g := tell(t, "ethtool", "-g", name); splitKnown(g) && !strings.Contains(g, "TCP data split:\ton") {
		t.Error(g)
	}
	k := must(openSockets())(t)
	defer k.Close()
	if r := must(k.rings(n.link))(t); r.Split != splitOn {
		t.Errorf("split %v", r.Split)
	}
	if table := must(k.rss(n.link))(t); uses(table, n.Queues()) {
		t.Errorf("RSS %v", table)
	}
	check(t, n.Check())
}

// splitKnown says whether this version of ethtool speaks of header split.
func splitKnown(g string) bool { return strings.Contains(g, "TCP data split:") }

// TestLabKeepsWhatWasSet starts with an RSS table of somebody's own, and n-tuple
// filters off.
func TestLabKeepsWhatWasSet(t *testing.T) {
	name := labNIC(t)
	unchanged(t, name)
	tell(t, "ethtool", "-X", name, "weight", "1", "0", "3")
	t.Cleanup(func() { tell(t, "ethtool", "-X", name, "default") })
	tell(t, "ethtool", "-K", name, "ntuple", "off")
	t.Cleanup(func() { tell(t, "ethtool", "-K", name, "ntuple", "on") })
	before := setting(t, name)
	n := labOpen(t, name, 1+len(bound(t, name))-3)
	if setting(t, name) == before {
		t.Error("Open changed nothing")
	}
	check(t, n.Check())
	check(t, n.Close())
	if after := setting(t, name); after != before {
		t.Errorf("before\n%s\nafter\n%s", before, after)
	}
}

// TestLabThresh starts with a threshold below which packets are not split: it is 0
// while the queues are taken, and what it was again afterwards.
func TestLabThresh(t *testing.T) {
	name := labNIC(t)
	k := must(openSockets())(t)
	t.Cleanup(func() { k.Close() })
	l := must(k.linkNamed(name))(t)
	before := must(k.rings(l))(t)
	if !before.HasThresh {
		skip(t, "hds-thresh (make lab T=devmem-nic KERNEL=7.3)")
	}
	thresh := uint32(1000)
	check(t, k.setRings(l, ringChange{Thresh: &thresh}))
	t.Cleanup(func() { check(t, k.setRings(l, ringChange{Thresh: &before.Thresh})) })
	n := labOpen(t, name, 1)
	if r := must(k.rings(l))(t); r.Thresh != 0 || r.Split != splitOn {
		t.Errorf("while queues are taken: %+v", r)
	}
	_, err := n.Bind(labDMABuf(t))
	check(t, err)
	check(t, n.Close())
	if r := must(k.rings(l))(t); r.Thresh != thresh || r.Split != before.Split {
		t.Errorf("afterwards %+v, before %+v and a threshold of %d", r, before, thresh)
	}
}

// failing is the kernel, of which one change fails.
type failing struct {
	kernel
	left int
}

func (f *failing) fail() error {
	f.left--
	if f.left == 0 {
		return errInjected
	}
	return nil
}

func (f *failing) setRings(l link, c ringChange) error {
	return errors.Join(f.kernel.setRings(l, c), f.fail())
}

func (f *failing) setNTuple(l link, on bool) error {
	return errors.Join(f.kernel.setNTuple(l, on), f.fail())
}

func (f *failing) setRSS(l link, table []uint32) error {
	return errors.Join(f.kernel.setRSS(l, table), f.fail())
}

// TestLabFailure has each change be made and then said to have failed.
func TestLabFailure(t *testing.T) {
	name := labNIC(t)
	unchanged(t, name)
	tell(t, "ethtool", "-K", name, "ntuple", "off")
	t.Cleanup(func() { tell(t, "ethtool", "-K", name, "ntuple", "on") })
	before := setting(t, name)
	for at := 1; at <= 3; at++ {
		k := must(openSockets())(t)
		_, err := open(&failing{k, at}, Config{Name: name, Queues: 1, StateDir: t.TempDir()})
		if !errors.Is(err, errInjected) {
			t.Errorf("change %d: %v", at, err)
		}
		if after := setting(t, name); after != before {
			t.Errorf("change %d: before\n%s\nafter\n%s", at, before, after)
		}
		k.Close()
	}
}

func TestLabBadInput(t *testing.T) {
	name := labNIC(t)
	unchanged(t, name)
	count := len(bound(t, name))
	for _, c := range []struct {
		name   string
		queues int
		want   error
	}{
		{"nosuchnic", 1, ErrNoNIC}, {"", 1, ErrNoNIC}, {strings.Repeat("x", 40), 1, ErrNoNIC},
		{name, 0, ErrQueues}, {name, -3, ErrQueues}, {name, count, ErrQueues}, {name, 1 << 30, ErrQueues},
	} {
		n, err := Open(Config{Name: c.name, Queues: c.queues, StateDir: t.TempDir()})
		if !errors.Is(err, c.want) {
			t.Errorf("%q, %d queues: %v, want %v", c.name, c.queues, err, c.want)
		}
		if n != nil {
			n.Close()
		}
	}
	n := labOpen(t, name, 1)
	null := must(os.Open(os.DevNull))(t)
	defer null.Close()
	for _, fd := range []int{-1, 1 << 20, int(null.Fd())} {
		if _, err := n.Bind(fd); !errors.Is(err, ErrDMABuf) {
			t.Errorf("descriptor %d: %v", fd, err)
		}
		if _, _, err := n.k.bind(n.link, fd, n.taken); !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EBADF) {
			t.Errorf("the kernel, of descriptor %d: %v", fd, err)
		}
	}
}

// TestLabOtherNICs has interfaces that lack something refused as they are.
func TestLabOtherNICs(t *testing.T) {
	labNIC(t)
	tell(t, "ip", "link", "add", "nicv0", "type", "veth", "peer", "name", "nicv1")
	t.Cleanup(func() { tell(t, "ip", "link", "del", "nicv0") })
	veth := func() string { return tell(t, "ethtool", "-k", "nicv0") + tell(t, "ethtool", "-l", "nicv0") }
	open := func(want error) {
		t.Helper()
		before := veth()
		n, err := Open(Config{Name: "nicv0", Queues: 1, StateDir: t.TempDir()})
		if !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
		t.Log(err)
		if n != nil {
			n.Close()
		}
		if after := veth(); after != before {
			t.Errorf("before\n%s\nafter\n%s", before, after)
		}
	}
	open(ErrDown)
	tell(t, "ip", "link", "set", "nicv0", "up")
	tell(t, "ethtool", "-L", "nicv0", "rx", "1", "tx", "1")
	open(ErrQueues)
	tell(t, "ethtool", "-L", "nicv0", "rx", "2", "tx", "1")
	open(ErrUnsupported)
}

func TestLabBind(t *testing.T) {
	name := labNIC(t)
	unchanged(t, name)
	n := labOpen(t, name, 2)
	fd := labDMABuf(t)
	q := n.Queues()
	b := must(n.Bind(fd))(t)
	if got := bound(t, name); got[q[0]] != b.ID() || got[q[1]] != b.ID() || got[0] != 0 {
		t.Errorf("binding %d shows as %v", b.ID(), got)
	}
	check(t, n.Check())
	_, err := n.Bind(fd, q[1])
	if !errors.Is(err, ErrBusy) {
		t.Errorf("bound twice: %v", err)
	}
	t.Log(err)
	_, err = Open(Config{Name: name, Queues: 1, StateDir: t.TempDir()})
	if !errors.Is(err, ErrBusy) || !strings.Contains(fmt.Sprint(err), fmt.Sprintf("binding %d", b.ID())) {
		t.Errorf("opened by one who knows nothing of the lock: %v", err)
	}
	t.Log(err)

	b.held.Close() // underneath
	if err := n.Check(); !errors.Is(err, ErrChanged) {
		t.Errorf("the binding went: %v", err)
	}
	b.Close()
	check(t, n.Check())
	one, other := must(n.Bind(fd, q[0]))(t), must(n.Bind(fd, q[1]))(t)
	check(t, n.Check())
	check(t, one.Close())
	check(t, one.Close())
	if got := bound(t, name); got[q[0]] != 0 || got[q[1]] != other.ID() {
		t.Errorf("after one of two was closed: %v", got)
	}
	check(t, n.Close())
	if got := bound(t, name); slices.Max(got) != 0 {
		t.Errorf("after the NIC was closed: %v", got)
	}
}

func TestLabSteer(t *testing.T) {
	name := labNIC(t)
	unchanged(t, name)
	n := labOpen(t, name, 1)
	v4 := must(n.Steer(addr("10.9.9.1:4000"), addr("10.9.9.2:5000"), n.taken[0]))(t)
	v6 := must(n.Steer(addr("[fd09::1]:4000"), addr("[fd09::2]:5000"), n.taken[0]))(t)
	if err := n.Check(); err != nil {
		t.Error(err)
	}
	list := tell(t, "ethtool", "-n", name)
	for _, want := range []string{
		"TCP over IPv4", "Src IP addr: 10.9.9.2 mask: 0.0.0.0", "Dest IP addr: 10.9.9.1 mask: 0.0.0.0",
		"Src port: 5000 mask: 0x0", "Dest port: 4000 mask: 0x0",
		"TCP over IPv6", "Src IP addr: fd09::2 mask: ::", "Dest IP addr: fd09::1 mask: ::",
		fmt.Sprintf("Direct to queue %d", n.taken[0]),
	} {
		if !strings.Contains(list, want) {
			t.Errorf("no %q in\n%s", want, list)
		}
	}
	check(t, v4.Close())
	if list := tell(t, "ethtool", "-n", name); strings.Contains(list, "IPv4") || !strings.Contains(list, "IPv6") {
		t.Error(list)
	}
	tell(t, "ethtool", "-N", name, "delete", fmt.Sprint(v6.location))
	if err := n.Check(); !errors.Is(err, ErrChanged) || !strings.Contains(err.Error(), "fd09::2") {
		t.Errorf("the rule went: %v", err)
	}
	check(t, v6.Close())
	check(t, n.Check())
}

// TestLabRulesRunOut fills the NIC's table of rules, to see the error.
func TestLabRulesRunOut(t *testing.T) {
	name := labNIC(t)
	unchanged(t, name)
	n := labOpen(t, name, 1)
	for port := uint16(1); port < 5000; port++ {
		remote := netip.AddrPortFrom(addr("10.9.9.2:1").Addr(), port)
		if _, err := n.Steer(addr("10.9.9.1:4000"), remote, n.taken[0]); err != nil {
			t.Logf("rule %d: %v", port, err)
			if !errors.Is(err, ErrBusy) || port < 2 {
				t.Error(err)
			}
			return
		}
	}
	t.Log("5000 rules fit")
}

func TestLabForeignRule(t *testing.T) {
	name := labNIC(t)
	unchanged(t, name)
	last := len(bound(t, name)) - 1
	tell(t, "ethtool", "-N", name, "flow-type", "tcp4", "dst-port", "99", "action", fmt.Sprint(last), "loc", "7")
	t.Cleanup(func() { tell(t, "ethtool", "-N", name, "delete", "7") })
	if _, err := Open(Config{Name: name, Queues: 1, StateDir: t.TempDir()}); !errors.Is(err, ErrBusy) {
		t.Errorf("%v", err)
	}
}

func TestLabCheck(t *testing.T) {
	name := labNIC(t)
	unchanged(t, name)
	n := labOpen(t, name, 1)
	expect := func(says string, argv ...string) {
		t.Helper()
		tell(t, argv...)
		if err := n.Check(); !errors.Is(err, ErrChanged) || !strings.Contains(err.Error(), says) {
			t.Errorf("%v: %v", argv, err)
		}
	}
	k := must(openSockets())(t)
	defer k.Close()
	off := splitOff
	check(t, k.setRings(n.link, ringChange{Split: &off}))
	expect("header split is off", "true")
	on := splitOn
	check(t, k.setRings(n.link, ringChange{Split: &on}))
	check(t, n.Check())
	expect("n-tuple", "ethtool", "-K", name, "ntuple", "off")
	tell(t, "ethtool", "-K", name, "ntuple", "on")
	expect("RSS", "ethtool", "-X", name, "default")
	check(t, k.setRSS(n.link, n.rec.reducedRSS()))
	check(t, n.Check())

	must(n.Bind(labDMABuf(t)))(t)
	err := k.setRings(n.link, ringChange{Split: &off})
	t.Logf("split off while bound: %v", err)
	if e := n.Check(); (err == nil) != errors.Is(e, ErrChanged) {
		t.Errorf("split off: %v; Check: %v", err, e)
	}
}

// TestLabRenamed has the interface get another name while it is up: rules and
// settings go by what it is.
func TestLabRenamed(t *testing.T) {
	name := labNIC(t)
	unchanged(t, name)
	n := labOpen(t, name, 1)
	before := must(n.Steer(addr("10.9.9.1:4000"), addr("10.9.9.2:5000"), n.taken[0]))(t)
	tell(t, "ip", "link", "set", name, "name", "other0")
	t.Cleanup(func() { tell(t, "ip", "link", "set", "other0", "name", name) })
	after := must(n.Steer(addr("10.9.9.1:4001"), addr("10.9.9.2:5000"), n.taken[0]))(t)
	check(t, n.Check())
	check(t, before.Close())
	check(t, after.Close())
	if left := must(n.k.rules(n.link))(t); len(left) != 0 {
		t.Errorf("rules left: %v", left)
	}
	check(t, n.Close())
}

// TestLabDown keeps the binding over a link that goes down and comes up.
func TestLabDown(t *testing.T) {
	name := labNIC(t)
	unchanged(t, name)
	n := labOpen(t, name, 1)
	must(n.Bind(labDMABuf(t)))(t)
	tell(t, "ip", "link", "set", name, "down")
	if err := n.Check(); !errors.Is(err, ErrDown) {
		t.Errorf("down: %v", err)
	}
	tell(t, "ip", "link", "set", name, "up")
	check(t, n.Check())
}

// TestLabKilled restores after a process that holds the NIC was killed.
func TestLabKilled(t *testing.T) {
	name := labNIC(t)
	unchanged(t, name)
	before, dir := setting(t, name), t.TempDir()
	holder := startHolder(t, name, dir)
	held := setting(t, name)
	if held == before || slices.Max(bound(t, name)) == 0 {
		t.Fatalf("the holder changed nothing: %s", held)
	}
	_, err := Open(Config{Name: name, Queues: 1, StateDir: dir})
	if !errors.Is(err, ErrBusy) || !strings.Contains(err.Error(), fmt.Sprintf("pid %d ", holder.Process.Pid)) {
		t.Errorf("Open while held: %v", err)
	}
	t.Log(err)
	if got, _, err := Restore(dir); got != nil || err != nil {
		t.Errorf("restored %v from a living process, %v", got, err)
	}
	check(t, holder.Process.Kill())
	holder.Wait()
	if setting(t, name) != held || slices.Max(bound(t, name)) != 0 {
		t.Errorf("after the kill: %v\n%s", bound(t, name), setting(t, name))
	}
	got, _, err := Restore(dir)
	if err != nil || !slices.Equal(got, []string{name}) {
		t.Errorf("restored %v, %v", got, err)
	}
	if after := setting(t, name); after != before {
		t.Errorf("before\n%s\nafter\n%s", before, after)
	}
}

// TestLabKilledAnyTime kills a process while it takes the NIC and gives it back.
func TestLabKilledAnyTime(t *testing.T) {
	name := labNIC(t)
	unchanged(t, name)
	before, dir := setting(t, name), t.TempDir()
	put := 0
	for range 12 {
		holder := startHolder(t, name, dir, loopEnv+"=1")
		time.Sleep(time.Duration(rand.Int64N(int64(300 * time.Millisecond))))
		check(t, holder.Process.Kill())
		holder.Wait()
		got, _, err := Restore(dir)
		check(t, err)
		put += len(got)
		if after := setting(t, name); after != before {
			t.Fatalf("before\n%s\nafter\n%s", before, after)
		}
	}
	t.Logf("%d of 12 left something to put back", put)
}

// TestLabOpenAfterKill has Open clean up by itself.
func TestLabOpenAfterKill(t *testing.T) {
	name := labNIC(t)
	unchanged(t, name)
	dir := t.TempDir()
	holder := startHolder(t, name, dir)
	check(t, holder.Process.Kill())
	holder.Wait()
	n, err := Open(Config{Name: name, Queues: 1, StateDir: dir})
	check(t, err)
	check(t, n.Check())
	if rules := must(n.k.rules(n.link))(t); len(rules) != 0 {
		t.Errorf("rules %v", rules)
	}
	check(t, n.Close())
}

func TestLabInspect(t *testing.T) {
	name := labNIC(t)
	unchanged(t, name)
	find := func(dmabuf int) Report {
		all := must(Inspect(dmabuf))(t)
		i := slices.IndexFunc(all, func(r Report) bool { return r.Name == name })
		if i < 0 {
			t.Fatalf("%s is not in %+v", name, all)
		}
		for _, r := range all {
			t.Logf("%+v", r)
		}
		return all[i]
	}
	fd := labDMABuf(t)
	if r := find(fd); r.Driver == "" || r.DMADevice == "" || r.Ring == 0 || r.Queues < 3 || !r.FlowSteering.OK || !r.RSS.OK ||
		!r.FreeQueue.OK || r.Bind.OK || !r.Bind.Untried || !r.Split.OK || !strings.HasPrefix(r.Split.State, "off") {
		t.Errorf("%+v", r)
	}
	n := labOpen(t, name, 1)
	if r := find(fd); !r.Split.OK || !r.HDSThresh.OK || !r.Bind.OK {
		t.Errorf("%+v", r)
	}
	if got := bound(t, name); slices.Max(got) != 0 {
		t.Errorf("left bound: %v", got)
	}
	check(t, n.Check())
}
