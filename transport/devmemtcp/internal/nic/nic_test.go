package nic

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

var (
	localV4  = netip.MustParseAddrPort("10.0.0.1:4000")
	remoteV4 = netip.MustParseAddrPort("10.0.0.2:5000")
	localV6  = netip.MustParseAddrPort("[fd00::1]:4000")
	remoteV6 = netip.MustParseAddrPort("[fd00::2]:5000")
)

func openFake(t *testing.T, k *fakeKernel, dir string, queues int) *NIC {
	t.Helper()
	n, err := open(k, Config{Name: "fake0", Queues: queues, StateDir: dir})
	check(t, err)
	t.Cleanup(func() { n.Close() })
	return n
}

// records are the files that say what to put back.
func records(t *testing.T, dir string) []string {
	t.Helper()
	return must(filepath.Glob(filepath.Join(dir, "*"+recordSuffix)))(t)
}

func TestOpenChangesAndCloseRestores(t *testing.T) {
	k, dir := newFake(), t.TempDir()
	before := k.state()
	n := openFake(t, k, dir, 2)
	if got := n.Queues(); !slices.Equal(got, []int{2, 3}) {
		t.Errorf("queues %v", got)
	}
	if k.ring.Split != splitOn || k.ring.Thresh != 0 || !k.nt.On || uses(k.table, []int{2, 3}) {
		t.Errorf("after Open: %s", k.state())
	}
	if len(records(t, dir)) != 1 {
		t.Error("no record")
	}
	must(n.Steer(localV4, remoteV4, 2))(t)
	must(n.Steer(localV6, remoteV6, 3))(t)
	check(t, n.Check())
	check(t, n.Close())
	check(t, n.Close())
	if got := k.state(); got != before {
		t.Errorf("before\n%s\nafter\n%s", before, got)
	}
	if got := records(t, dir); got != nil {
		t.Errorf("left: %v", got)
	}
}

// TestEveryFailureRestores has each change of Open fail in turn.
func TestEveryFailureRestores(t *testing.T) {
	for at := 1; ; at++ {
		k, dir := newFake(), t.TempDir()
		before := k.state()
		k.failAt, k.failed = at, errInjected
		n, err := open(k, Config{Name: "fake0", Queues: 1, StateDir: dir})
		if err == nil {
			k.failAt = 0
			check(t, n.Close())
			if at < 4 {
				t.Fatalf("Open changes %d things", at-1)
			}
			return
		}
		if !errors.Is(err, errInjected) || k.state() != before || records(t, dir) != nil {
			t.Errorf("change %d: %v; left %s, %v", at, err, k.state(), records(t, dir))
		}
	}
}

func TestNothingToChange(t *testing.T) {
	k := newFake()
	k.ring, k.nt.On, k.table = rings{RX: 64, Split: splitOn}, true, []uint32{0, 1}
	before := k.state()
	n := openFake(t, k, t.TempDir(), 1)
	if k.calls != 0 {
		t.Errorf("%d changes", k.calls)
	}
	check(t, n.Close())
	if k.calls != 0 || k.state() != before {
		t.Errorf("%d changes, %s", k.calls, k.state())
	}
}

func TestOpenRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*fakeKernel)
		queues int
		want   error
		says   string
	}{
		"none asked for":    {func(*fakeKernel) {}, 0, ErrQueues, "at least 1"},
		"negative":          {func(*fakeKernel) {}, -1, ErrQueues, "at least 1"},
		"all":               {func(*fakeKernel) {}, 4, ErrQueues, "at most 3"},
		"too many":          {func(*fakeKernel) {}, 5, ErrQueues, "ethtool -L"},
		"single queue":      {func(k *fakeKernel) { k.all = k.all[:1] }, 1, ErrQueues, "one receive queue"},
		"down":              {func(k *fakeKernel) { k.l.Up, k.all = false, nil }, 1, ErrDown, "ip link set"},
		"gone":              {func(k *fakeKernel) { k.gone = true }, 1, ErrNoNIC, ""},
		"bound":             {func(k *fakeKernel) { k.all[3].DMABuf = 9 }, 1, ErrBusy, "binding 9"},
		"AF_XDP":            {func(k *fakeKernel) { k.all[3].Other = "AF_XDP" }, 1, ErrBusy, "AF_XDP"},
		"foreign rule":      {func(k *fakeKernel) { k.foreign = []rule{{Location: 5, Queue: 3}} }, 1, ErrBusy, "flow rule 5"},
		"context":           {func(k *fakeKernel) { k.ctx = []rssContext{{ID: 2, Table: []uint32{3}}} }, 1, ErrBusy, "context 2"},
		"split unsupported": {func(k *fakeKernel) { k.failAt, k.failed = 2, needSplit.failed(unix.EOPNOTSUPP) }, 1, ErrUnsupported, "tcp-data-split"},
		"driver ignores":    {func(k *fakeKernel) { k.deaf = true }, 1, ErrChanged, "driver did not take"},
	} {
		t.Run(name, func(t *testing.T) {
			k, dir := newFake(), t.TempDir()
			c.change(k)
			before := k.state()
			_, err := open(k, Config{Name: "fake0", Queues: c.queues, StateDir: dir})
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want %v that says %q", err, c.want, c.says)
			}
			if k.state() != before || records(t, dir) != nil {
				t.Errorf("left %s, %v", k.state(), records(t, dir))
			}
		})
	}
}

func TestOneProcessANIC(t *testing.T) {
	k, dir := newFake(), t.TempDir()
	n := openFake(t, k, dir, 1)
	_, err := open(k, Config{Name: "fake0", Queues: 1, StateDir: dir})
	if !errors.Is(err, ErrBusy) || !strings.Contains(err.Error(), "pid ") {
		t.Errorf("second Open: %v", err)
	}
	check(t, n.Check())
	check(t, n.Close())
	check(t, openFake(t, k, dir, 1).Close())
}

func TestSteerRefuses(t *testing.T) {
	k := newFake()
	n := openFake(t, k, t.TempDir(), 1)
	none := netip.AddrPort{}
	for name, c := range map[string]struct {
		local, remote netip.AddrPort
		queue         int
		want          error
	}{
		"queue not taken": {localV4, remoteV4, 2, ErrQueues},
		"negative queue":  {localV4, remoteV4, -1, ErrQueues},
		"no local":        {none, remoteV4, 3, errFlow},
		"no remote":       {localV4, none, 3, errFlow},
		"no port":         {netip.AddrPortFrom(localV4.Addr(), 0), remoteV4, 3, errFlow},
		"any address":     {netip.MustParseAddrPort("0.0.0.0:1"), remoteV4, 3, errFlow},
		"two versions":    {localV4, remoteV6, 3, errFlow},
	} {
		if _, err := n.Steer(c.local, c.remote, c.queue); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	r := must(n.Steer(localV4, remoteV4, 3))(t)
	mapped := netip.AddrPortFrom(netip.AddrFrom16(localV4.Addr().As16()), localV4.Port())
	if _, err := n.Steer(mapped, remoteV4, 3); !errors.Is(err, ErrBusy) {
		t.Errorf("twice: %v", err)
	}
	check(t, r.Close())
	check(t, r.Close())
	k.calls, k.failAt, k.failed = 0, 1, errInjected
	if _, err := n.Steer(localV4, remoteV4, 3); !errors.Is(err, errInjected) || len(n.rec.Flows) != 0 {
		t.Errorf("%v; recorded %v", err, n.rec.Flows)
	}
	check(t, n.Close())
	if _, err := n.Steer(localV4, remoteV4, 3); !errors.Is(err, ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}

// TestRestoreAfterDeath drops a NIC as the end of a process does.
func TestRestoreAfterDeath(t *testing.T) {
	k, dir := newFake(), t.TempDir()
	k.table[0] = 1 // not the default
	k.have[0], k.nt.On = flow{localV4, remoteV4, 0}, true
	before := k.state()
	n := openFake(t, k, dir, 2)
	must(n.Steer(localV6, remoteV6, 3))(t)

	if got, busy, err := restoreAll(k, dir); got != nil || len(busy) != 1 || !strings.Contains(busy[0], "fake0: in use by \"pid ") || err != nil {
		t.Errorf("restored %v of a living process, busy %q, %v", got, busy, err)
	}
	check(t, n.Check())
	n.died()
	got, busy, err := restoreAll(k, dir)
	if err != nil || busy != nil || !slices.Equal(got, []string{"fake0"}) {
		t.Errorf("restored %v, %v", got, err)
	}
	if k.state() != before {
		t.Errorf("before\n%s\nafter\n%s", before, k.state())
	}
	if got, _, err := restoreAll(k, dir); got != nil || err != nil {
		t.Errorf("a second time: %v, %v", got, err)
	}
}

func TestOpenCleansUpAfterDeath(t *testing.T) {
	k, dir := newFake(), t.TempDir()
	before := k.state()
	n := openFake(t, k, dir, 3)
	must(n.Steer(localV4, remoteV4, 1))(t)
	n.died()
	check(t, openFake(t, k, dir, 1).Close())
	if k.state() != before {
		t.Errorf("before\n%s\nafter\n%s", before, k.state())
	}
}

// TestFailedRestoreCanBeRepeated keeps the record of what was not put back.
func TestFailedRestoreCanBeRepeated(t *testing.T) {
	k, dir := newFake(), t.TempDir()
	before := k.state()
	n := openFake(t, k, dir, 1)
	k.calls, k.failAt, k.failed = 0, 1, errInjected
	if err := n.Close(); !errors.Is(err, errInjected) {
		t.Errorf("Close: %v", err)
	}
	if len(records(t, dir)) != 1 {
		t.Error("no record")
	}
	_, _, err := restoreAll(k, dir)
	check(t, err)
	if k.state() != before {
		t.Errorf("before\n%s\nafter\n%s", before, k.state())
	}
}

func TestRestoreElsewhere(t *testing.T) {
	k, dir := newFake(), t.TempDir()
	p := must(here())(t)
	for name, c := range map[string]struct {
		rec  record
		says string // "" is no error, and no record after it
	}{
		"other boot":      {record{Boot: "other", NetNS: p.netns, Index: 7, Name: "fake0"}, ""},
		"other namespace": {record{Boot: p.boot, NetNS: p.netns + 1, Index: 7, Name: "fake0"}, "another network namespace"},
		"gone":            {record{Boot: p.boot, NetNS: p.netns, Index: 8, Name: "fake1"}, ""},
	} {
		s := slotOf(dir, c.rec.NetNS, c.rec.Index)
		check(t, s.save(&c.rec))
		_, _, err := restoreAll(k, dir)
		if (err != nil) != (c.says != "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
		if left := records(t, dir); (left != nil) != (c.says != "") {
			t.Errorf("%s: left %v", name, left)
		}
		check(t, s.remove())
	}
	bad := filepath.Join(dir, "1-2.json")
	check(t, os.WriteFile(bad, []byte("{"), 0o600))
	if _, _, err := restoreAll(k, dir); !errors.Is(err, errRecord) || !strings.Contains(err.Error(), bad) {
		t.Errorf("unreadable: %v", err)
	}
	if k.calls != 0 {
		t.Errorf("%d changes", k.calls)
	}
}

// TestQueuesChangedMeanwhile has a table that no longer fits give way to the
// kernel's default.
func TestQueuesChangedMeanwhile(t *testing.T) {
	k, dir := newFake(), t.TempDir()
	n := openFake(t, k, dir, 1)
	k.all = k.all[:3]
	check(t, n.Close())
	if !slices.Equal(k.table, spread(3)) {
		t.Errorf("table %v", k.table)
	}
}

// TestKeepsWhatOthersSet has somebody change each setting while the NIC is open.
func TestKeepsWhatOthersSet(t *testing.T) {
	k := newFake()
	n := openFake(t, k, t.TempDir(), 1)
	table := []uint32{0, 0, 1, 1}
	k.table, k.ring.Thresh, k.foreign = table, 77, []rule{{Location: 9, Queue: 0}}
	check(t, n.Close())
	if !slices.Equal(k.table, table) || k.ring.Thresh != 77 || !k.nt.On {
		t.Errorf("left %s", k.state())
	}
	if k.ring.Split != splitOff {
		t.Errorf("split %v", k.ring.Split)
	}
}

// TestStateDirIsPrivate: who can open a lock file can keep it locked.
func TestStateDirIsPrivate(t *testing.T) {
	k, dir := newFake(), t.TempDir()
	lock := slotOf(dir, must(here())(t).netns, k.l.Index).base + lockSuffix
	check(t, os.WriteFile(lock, nil, 0o644))
	check(t, os.Chmod(dir, 0o755))
	check(t, openFake(t, k, dir, 1).Close())
	for path, want := range map[string]os.FileMode{dir: 0o700, lock: 0o600} {
		if mode := must(os.Stat(path))(t).Mode().Perm(); mode != want {
			t.Errorf("%s has mode %v", path, mode)
		}
	}
	check(t, os.Chmod(dir, 0o777))
	if _, err := open(k, Config{Name: "fake0", Queues: 1, StateDir: dir}); !errors.Is(err, os.ErrPermission) {
		t.Errorf("Open with a directory that everyone can write to: %v", err)
	}
	if _, _, err := restoreAll(k, dir); !errors.Is(err, os.ErrPermission) {
		t.Errorf("Restore from it: %v", err)
	}
}

// died drops a NIC as the end of its process does.
func (n *NIC) died() {
	n.slot.release()
	n.closed = true
}

// TestRestoreGoesByDevice has what a record is about lie elsewhere by then.
func TestRestoreGoesByDevice(t *testing.T) {
	for name, c := range map[string]struct {
		change   func(*fakeKernel, *record)
		restored bool
	}{
		"another index":      {func(k *fakeKernel, _ *record) { k.l.Index = 9 }, true},
		"another name":       {func(k *fakeKernel, _ *record) { k.l.Name = "fake9" }, true},
		"back from its own":  {func(k *fakeKernel, r *record) { k.l.Index = 9; r.NetNS++ }, true},
		"another device":     {func(k *fakeKernel, _ *record) { k.l.Parent = "test/fake.1" }, false},
		"device is not told": {func(_ *fakeKernel, r *record) { r.Parent = "" }, false},
	} {
		k, dir := newFake(), t.TempDir()
		before := k.state()
		n := openFake(t, k, dir, 1)
		changed := k.state()
		c.change(k, n.rec)
		check(t, n.slot.save(n.rec))
		n.died()
		_, _, err := restoreAll(k, dir)
		check(t, err)
		if want := map[bool]string{true: before, false: changed}[c.restored]; k.state() != want {
			t.Errorf("%s: %s, want %s", name, k.state(), want)
		}
		if left := records(t, dir); left != nil {
			t.Errorf("%s: left %v", name, left)
		}
	}
}

// TestRestoreLeavesNewHolder has the device be held under another index.
func TestRestoreLeavesNewHolder(t *testing.T) {
	k, dir := newFake(), t.TempDir()
	openFake(t, k, dir, 1).died()
	k.l.Index = 9
	n := openFake(t, k, dir, 1)
	if got, busy, err := restoreAll(k, dir); got != nil || len(busy) != 2 || err != nil {
		t.Errorf("restored %v, busy %q, %v", got, busy, err)
	}
	check(t, n.Check())
}

func TestCheckNotices(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*fakeKernel)
		want   error
		says   string
	}{
		"split":   {func(k *fakeKernel) { k.ring.Split = splitOff }, ErrChanged, "split is off"},
		"thresh":  {func(k *fakeKernel) { k.ring.Thresh = 1 }, ErrChanged, "hds-thresh is 1"},
		"ntuple":  {func(k *fakeKernel) { k.nt.On = false }, ErrChanged, "n-tuple"},
		"rss":     {func(k *fakeKernel) { k.table[0] = 3 }, ErrChanged, "RSS"},
		"rule":    {func(k *fakeKernel) { clear(k.have) }, ErrChanged, "10.0.0.2:5000 -> 10.0.0.1:4000 is gone"},
		"binding": {func(k *fakeKernel) { k.all[3].DMABuf = 0 }, ErrChanged, "binding 1"},
		"queue":   {func(k *fakeKernel) { k.all = k.all[:3] }, ErrChanged, "queue 3 is gone"},
		"another": {func(k *fakeKernel) { k.l.Parent = "test/fake.1" }, ErrNoNIC, "test/fake.1"},
		"down":    {func(k *fakeKernel) { k.l.Up = false }, ErrDown, ""},
		"gone":    {func(k *fakeKernel) { k.gone = true }, ErrNoNIC, ""},
	} {
		t.Run(name, func(t *testing.T) {
			k := newFake()
			n := openFake(t, k, t.TempDir(), 1)
			must(n.Steer(localV4, remoteV4, 3))(t)
			n.bindings = append(n.bindings, &Binding{nic: n, id: 1, queues: []int{3}})
			k.all[3].DMABuf = 1
			check(t, n.Check())
			c.change(k)
			if err := n.Check(); !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v, want %v that says %q", err, c.want, c.says)
			}
		})
	}
}

func TestGoneWhileOpen(t *testing.T) {
	k, dir := newFake(), t.TempDir()
	n := openFake(t, k, dir, 1)
	r := must(n.Steer(localV4, remoteV4, 3))(t)
	k.gone = true
	check(t, r.Close())
	check(t, n.Close())
	if left := records(t, dir); left != nil {
		t.Errorf("left %v", left)
	}
}

func TestWithout(t *testing.T) {
	for _, c := range []struct{ table, taken, want []uint32 }{
		{[]uint32{0, 1, 2, 3}, []uint32{2, 3}, []uint32{0, 1, 0, 1}},
		{[]uint32{0, 0, 3, 3}, []uint32{3}, []uint32{0, 0, 0, 0}},
		{[]uint32{3, 3, 3, 3}, []uint32{3}, []uint32{0, 1, 2, 0}},
		{[]uint32{1, 2, 1}, []uint32{3}, []uint32{1, 2, 1}},
	} {
		var taken []int
		for _, q := range c.taken {
			taken = append(taken, int(q))
		}
		if got := without(c.table, taken, taken[0]); !slices.Equal(got, c.want) {
			t.Errorf("%v without %v: %v, want %v", c.table, taken, got, c.want)
		}
	}
}

func TestBindRefusesOther(t *testing.T) {
	n := openFake(t, newFake(), t.TempDir(), 1)
	file := must(os.Open(os.DevNull))(t)
	defer file.Close()
	for _, fd := range []int{-1, 1 << 20, int(file.Fd())} {
		if _, err := n.Bind(fd); !errors.Is(err, ErrDMABuf) {
			t.Errorf("descriptor %d: %v", fd, err)
		}
	}
	if _, err := n.Bind(0, 0); !errors.Is(err, ErrQueues) {
		t.Errorf("queue 0: %v", err)
	}
	for errno, want := range map[unix.Errno]error{
		unix.EEXIST: ErrBusy, unix.EBUSY: ErrBusy, unix.EOPNOTSUPP: ErrUnsupported, enotsupp: ErrUnsupported,
		unix.ENODATA: ErrUnsupported, unix.ENODEV: ErrNoNIC, unix.EPERM: unix.EPERM,
	} {
		if err := bindFailed(errno); !errors.Is(err, want) || !errors.Is(err, errno) {
			t.Errorf("%v: %v, want %v", errno, err, want)
		}
	}
}

func TestInspectFake(t *testing.T) {
	k := newFake()
	before := k.state()
	dir := t.TempDir()
	all := must(inspect(k, dir, -1))(t)
	if len(all) != 1 || all[0].Name != "fake0" || all[0].DMADevice != "test/fake.0" || all[0].Queues != 4 || all[0].Ring != 1024 {
		t.Fatalf("%+v", all)
	}
	r := all[0]
	if !r.Split.OK || !r.HDSThresh.OK || !r.FlowSteering.OK || !r.RSS.OK || !r.FreeQueue.OK || r.Bind.OK || !r.Bind.Untried {
		t.Errorf("%+v", r)
	}
	if k.state() != before || k.calls != 0 {
		t.Errorf("changed: %s", k.state())
	}
	k.noSplit, k.nt.Changeable = needSplit.failed(unix.EOPNOTSUPP), false
	if r := must(inspect(k, dir, -1))(t)[0]; r.Split.OK || r.Split.Remedy == "" || r.FlowSteering.OK || r.FlowSteering.Remedy == "" {
		t.Errorf("%+v", r)
	}
	for name, c := range map[string]func(*fakeKernel){
		"no dma-buf":         func(*fakeKernel) {},
		"split is off":       func(k *fakeKernel) { k.ring.Split = splitOff },
		"hds-thresh":         func(k *fakeKernel) { k.ring.Thresh = 1 },
		"other packets come": func(k *fakeKernel) { k.table = fakeDefault() },
		"no queue is free":   func(k *fakeKernel) { k.all[3].DMABuf = 4 },
	} {
		k := newFake()
		k.ring, k.nt.On, k.table = rings{Split: splitOn, HasThresh: true}, true, []uint32{0}
		c(k)
		fd := 0
		if name == "no dma-buf" {
			fd = -1
		}
		if r := must(inspect(k, dir, fd))(t)[0]; r.Bind.OK || !strings.Contains(r.Bind.State, name) || k.calls != 0 {
			t.Errorf("%s: %+v", name, r.Bind)
		}
	}
}

// TestInspectLeavesHeld: a NIC that a process holds is not tried.
func TestInspectLeavesHeld(t *testing.T) {
	k, dir := newFake(), t.TempDir()
	openFake(t, k, dir, 1)
	k.calls = 0
	if r := must(inspect(k, dir, 0))(t)[0]; r.Bind.OK || !r.Bind.Untried || !strings.Contains(r.Bind.State, "not tried: in use by ") || k.calls != 0 {
		t.Errorf("%+v", r.Bind)
	}
}

// TestNoRecordNoChange has nothing changed that could not be recorded.
func TestNoRecordNoChange(t *testing.T) {
	k, dir := newFake(), t.TempDir()
	before := k.state()
	file := filepath.Join(dir, "file")
	check(t, os.WriteFile(file, nil, 0o600))
	if _, err := open(k, Config{Name: "fake0", Queues: 1, StateDir: filepath.Join(file, "x")}); err == nil || k.state() != before {
		t.Errorf("Open: %v; %s", err, k.state())
	}
	state := filepath.Join(dir, "state")
	n := openFake(t, k, state, 1)
	check(t, os.RemoveAll(state))
	if _, err := n.Steer(localV4, remoteV4, 3); err == nil || len(k.have) != 0 || len(n.rec.Flows) != 0 {
		t.Errorf("Steer: %v; rules %v, recorded %v", err, k.have, n.rec.Flows)
	}
	check(t, n.Close())
	if k.state() != before {
		t.Errorf("before\n%s\nafter\n%s", before, k.state())
	}
}
