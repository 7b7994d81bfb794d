package tests

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"hbmfs/fs/client"
	"hbmfs/integration/lab/guest"
)

// Speeds are compared within one run, in rounds that take turns. They are
// reported, not judged: the guests are emulated.
const (
	speedRounds = 5
	speedBytes  = 4 * fileSize
)

// TestSpeedRDMA compares fetches with ib_write_bw, which writes the same way:
// from the other guest into this one.
func TestSpeedRDMA(t *testing.T) {
	for _, c := range []struct{ extent, window int }{{megabyte, 4 * megabyte}, {64 << 10, megabyte}} {
		for _, checksums := range []string{"off", "on"} {
			t.Run(fmt.Sprintf("%dK/checksums=%s", c.extent>>10, checksums), func(t *testing.T) {
				startTarget(t, big(1, 1))
				m := direct(t, "--checksums", checksums, "--extent", strconv.Itoa(c.extent))
				compare(t, fmt.Sprintf("ib_write_bw -q 4 -s %d", c.extent),
					func() float64 { return m.fetchRate(t, c.window).rate },
					func() float64 { return writeBW(t, c.extent) })
			})
		}
	}
}

// TestSpeedTCP compares RDMA with TCP between the same guests.
func TestSpeedTCP(t *testing.T) {
	startTarget(t, big(1, 1))
	overRDMA := direct(t)
	overTCP := startMount(t, "--transport", "tcp", "--pool", smallPool)
	var cost [2][]float64
	compare(t, "fetch over tcp",
		func() float64 { return overRDMA.costed(t, &cost[0]) },
		func() float64 { return overTCP.costed(t, &cost[1]) })
	t.Logf("this guest's busy CPU time: rdma %.1f ms per MiB, tcp %.1f ms per MiB: ratio %.2f",
		median(cost[0]), median(cost[1]), median(cost[0])/median(cost[1]))
}

// costed is fetchRate, and adds to cost how long the guest's CPUs were busy
// meanwhile, in ms per MiB.
func (m *mount) costed(t *testing.T, cost *[]float64) float64 {
	t.Helper()
	p := m.fetchRate(t, 4*megabyte)
	*cost = append(*cost, p.cost())
	return p.rate
}

// busyCPU is how long all CPUs of this guest have been at work since it booted,
// interrupts and kernel threads included.
func busyCPU(t *testing.T) time.Duration {
	t.Helper()
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		t.Fatal(err)
	}
	// cpu user nice system idle iowait irq softirq steal ..., in ticks of 10 ms
	fields := strings.Fields(string(text))[1:9]
	var ticks time.Duration
	for i, f := range fields {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		if i != 3 && i != 4 {
			ticks += time.Duration(n)
		}
	}
	return ticks * 10 * time.Millisecond
}

// TestSpeedCalls counts the system calls of the mount for each extent in the
// steady state, as the kernel does. A write to a device of rdma_rxe is the
// doorbell of one ibv_post_send.
func TestSpeedCalls(t *testing.T) {
	startTarget(t, big(1, 1))
	m := direct(t)
	m.fetchRate(t, 4*megabyte)
	before := m.stats(t)
	calls := countCalls(t, "hbmfs", func() { m.fetchRate(t, 4*megabyte) })
	after := m.stats(t)
	extents := after.Target.Link.Requests - before.Target.Link.Requests
	if n := after.Target.Link.Registrations.Misses - before.Target.Link.Registrations.Misses; n != 0 {
		t.Errorf("%d registrations in the steady state", n)
	}
	var total int64
	for _, name := range slices.Sorted(maps.Keys(calls)) {
		total += calls[name]
		if per := float64(calls[name]) / float64(extents); per >= 0.05 {
			t.Logf("%.2f %s per extent", per, name)
		}
	}
	t.Logf("%d extents, %.1f system calls each, 0 registrations", extents, float64(total)/float64(extents))
}

// countCalls returns how many system calls of each kind the processes of a name
// made while do ran, from the kernel's own histogram.
func countCalls(t *testing.T, comm string, do func()) map[string]int64 {
	t.Helper()
	const dir = "/sys/kernel/tracing"
	if err := syscall.Mount("tracefs", dir, "tracefs", 0, ""); err != nil && !errors.Is(err, syscall.EBUSY) {
		t.Fatal(err)
	}
	event := dir + "/events/raw_syscalls/sys_enter/"
	trigger := fmt.Sprintf("hist:keys=id.syscall if COMM == %q", comm)
	if err := os.WriteFile(event+"trigger", []byte(trigger), 0); err != nil {
		t.Fatal(err)
	}
	do()
	text, err := os.ReadFile(event + "hist")
	if err == nil {
		err = os.WriteFile(event+"trigger", []byte("!"+trigger), 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	calls := make(map[string]int64)
	for _, m := range histLine.FindAllStringSubmatch(string(text), -1) {
		n, err := strconv.ParseInt(m[2], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		calls[m[1]] = n
	}
	return calls
}

// histLine is, for example, "{ id: sys_write   [  1] } hitcount:   12".
var histLine = regexp.MustCompile(`\{ id: (\S+)\s+\[\s*\d+\] \} hitcount:\s+(\d+)`)

// compare logs the medians of two rates in MiB/s, and of their ratio.
func compare(t *testing.T, beside string, ours, theirs func() float64) {
	t.Helper()
	var a, b, ratios []float64
	for range speedRounds {
		a, b = append(a, ours()), append(b, theirs())
		ratios = append(ratios, a[len(a)-1]/b[len(b)-1])
	}
	slices.Sort(ratios)
	t.Logf("fetch %.1f MiB/s, %s %.1f MiB/s: ratio %.2f [%.2f-%.2f]",
		median(a), beside, median(b), median(ratios), ratios[0], ratios[len(ratios)-1])
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}

// pace is how fast something went, and what it cost.
type pace struct {
	rate, mib  float64 // MiB/s, and MiB
	took, busy time.Duration
}

// cost is how long the guest's CPUs were at work, in ms for each MiB.
func (p pace) cost() float64 { return float64(p.busy.Milliseconds()) / p.mib }

// fetchRate fetches a file over and over by four readers, each window bytes at a
// time. Counted is what came over the network: some of a file that is larger than
// the pool is still there when it is fetched again.
func (m *mount) fetchRate(t *testing.T, window int) pace {
	t.Helper()
	f := m.open(t, "f1", 1, 1)
	before := m.stats(t).Target.Link.Bytes
	var next atomic.Int64
	busy, began := busyCPU(t), time.Now()
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			var opts client.FetchOptions
			for at := next.Add(1) - 1; at*int64(window) < speedBytes; at = next.Add(1) - 1 {
				r, err := f.Fetch(context.Background(), at*int64(window)%fileSize, int64(window), opts)
				if err != nil {
					t.Error(err)
					return
				}
				opts.Release = r.Handle
			}
			if opts.Release == 0 {
				return
			}
			if err := f.Release(opts.Release); err != nil {
				t.Error(err)
			}
		})
	}
	readers.Wait()
	p := pace{took: time.Since(began), busy: busyCPU(t) - busy}
	p.mib = float64(m.stats(t).Target.Link.Bytes-before) / megabyte
	p.rate = p.mib / p.took.Seconds()
	return p
}

// writeBW is what ib_write_bw reports, in MiB/s.
func writeBW(t *testing.T, size int) float64 {
	t.Helper()
	n := strconv.Itoa(max(5, speedBytes/size/4))
	args := []string{"ib_write_bw", "-x", "1", "-R", "-q", "4", "-d", "rxe0", "-s", strconv.Itoa(size), "-n", n}
	local := guest.Local(t)
	server := local.Start(t, args...)
	awaitListener(t, local, server)
	out := guest.Peer(t).Run(t, append(args, guest.Addr)...)
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); len(f) == 5 && f[0] == strconv.Itoa(size) {
			if rate, err := strconv.ParseFloat(f[3], 64); err == nil {
				return rate
			}
		}
	}
	t.Fatalf("no figures:\n%s", out)
	return 0
}
