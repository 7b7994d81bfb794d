package tests

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
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
					func() float64 { return m.fetchRate(t, c.window) },
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
	compare(t, "fetch over tcp",
		func() float64 { return overRDMA.fetchRate(t, 4*megabyte) },
		func() float64 { return overTCP.fetchRate(t, 4*megabyte) })
}

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

// fetchRate fetches a file over and over by four readers, each window bytes at a
// time. The pool is smaller than the file: every extent comes over the network.
func (m *mount) fetchRate(t *testing.T, window int) float64 {
	t.Helper()
	f := m.open(t, "f1", 1, 1)
	var next, bytes atomic.Int64
	began := time.Now()
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for at := next.Add(1) - 1; at*int64(window) < speedBytes; at = next.Add(1) - 1 {
				r, err := f.Fetch(context.Background(), at*int64(window)%fileSize, int64(window), client.FetchOptions{})
				if err != nil {
					t.Error(err)
					return
				}
				bytes.Add(r.Fetched)
				if _, err := f.Release(r.Handle); err != nil {
					t.Error(err)
				}
			}
		})
	}
	readers.Wait()
	return float64(bytes.Load()) / megabyte / time.Since(began).Seconds()
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
