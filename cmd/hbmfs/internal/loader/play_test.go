package loader

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeReader takes a time for each sample.
type fakeReader struct {
	takes time.Duration
	fail  int64 // the sample that fails, counted from 1; 0: none
	got   atomic.Int64
}

func (f *fakeReader) worker() sampleReader { return &fakeWorker{f: f} }
func (*fakeReader) Close() error           { return nil }

type fakeWorker struct {
	f *fakeReader
	t tally
}

var errFake = errors.New("it failed")

func (w *fakeWorker) get(ctx context.Context, batch []wanted) error {
	return oneByOne(ctx, batch, &w.t, w.sample)
}

func (w *fakeWorker) sample(_ context.Context, s wanted) error {
	time.Sleep(w.f.takes)
	if w.f.got.Add(1) == w.f.fail {
		return errFake
	}
	w.t.bytes += s.Len
	w.t.segments, w.t.hits = w.t.segments+2, w.t.hits+1
	return nil
}

func (w *fakeWorker) tally() *tally { return &w.t }
func (*fakeWorker) Close() error    { return nil }

// playFake plays an epoch of 96 samples in 12 batches, which compute for 10 ms each.
func playFake(ctx context.Context, t *testing.T, f *fakeReader, workers int, taken func(int64)) (Epoch, error) {
	t.Helper()
	w := Workload{Name: "fake", Files: 96, Size: 1000, Batch: 8, Compute: 10 * time.Millisecond}
	set, err := newSet(w, "", w.files(), false, 0)
	if err != nil {
		t.Fatal(err)
	}
	count := int64(0)
	via := Via{Way: Way{Name: "fake", device: true, begin: func(*playing) epochReader { return f }}, Brought: func() (int64, error) {
		count += 48_000
		return count, nil
	}}
	return Play(ctx, Config{Set: set, Workers: workers, Seed: 1, Taken: taken}, via, 1)
}

// TestAU: the arithmetic of an epoch, by a clock that stands still while anyone
// works.
func TestAU(t *testing.T) {
	for _, c := range []struct {
		takes   time.Duration // a sample
		workers int
		total   time.Duration
	}{
		// Batches are there before they are wanted, but for the first.
		{time.Millisecond, 4, 8*time.Millisecond + 12*10*time.Millisecond},
		// One worker brings a batch in 80 ms, and the last one is computed on alone.
		{10 * time.Millisecond, 1, 12*80*time.Millisecond + 10*time.Millisecond},
		// Two bring two in 80 ms, and the last two are computed on one after the other.
		{10 * time.Millisecond, 2, 6*80*time.Millisecond + 20*time.Millisecond},
	} {
		synctest.Test(t, func(t *testing.T) {
			taken := int64(0)
			e, err := playFake(t.Context(), t, &fakeReader{takes: c.takes}, c.workers, func(n int64) { taken += n })
			if err != nil {
				t.Fatal(err)
			}
			near := func(got, want float64) bool { return math.Abs(got-want) < 1e-9*want }
			if e.Samples != 96 || e.Bytes != 96_000 || taken != 96_000 || e.Segments != 192 || e.Hits != 96 || *e.HitRatio != 0.5 || e.Amplification != 0.5 {
				t.Errorf("%+v, %d bytes taken", e, taken)
			}
			if au := 0.12 / c.total.Seconds(); !near(*e.AU, au) || !near(e.Seconds, c.total.Seconds()) || !near(e.SamplesPerSecond, 96/c.total.Seconds()) {
				t.Errorf("%v a sample, %d workers: %v s, AU %v, %v samples/s; want %v s, %v", c.takes, c.workers, e.Seconds, *e.AU, e.SamplesPerSecond, c.total.Seconds(), au)
			}
			if ms := c.takes.Seconds() * 1000; !near(e.P50, ms) || !near(e.P99, ms) {
				t.Errorf("p50 %v, p99 %v, want %v ms", e.P50, e.P99, ms)
			}
			all := All([]Epoch{e, e})
			if all.Epoch != 0 || all.Samples != 192 || *all.AU != *e.AU || *all.HitRatio != 0.5 || !near(all.Seconds, 2*e.Seconds) || all.Amplification != 0.5 {
				t.Errorf("two of them: %+v", all)
			}
		})
	}
}

// TestWorkersStayNearTheConsumer: they are two batches each ahead at most.
func TestWorkersStayNearTheConsumer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeReader{}
		const workers, batch = 2, 8
		took, most := int64(0), int64(0)
		if _, err := playFake(t.Context(), t, f, workers, func(int64) {
			synctest.Wait() // until all that may be brought is there
			took++
			most = max(most, f.got.Load()/batch-took)
		}); err != nil {
			t.Fatal(err)
		}
		if most != ahead*workers {
			t.Errorf("%d batches ahead, want %d", most, ahead*workers)
		}
	})
}

// TestPlayEnds: an error and the end of the context end an epoch, whoever waits for
// whom.
func TestPlayEnds(t *testing.T) {
	for _, fail := range []int64{1, 40, 96} {
		synctest.Test(t, func(t *testing.T) {
			if _, err := playFake(t.Context(), t, &fakeReader{takes: time.Millisecond, fail: fail}, 3, nil); !errors.Is(err, errFake) {
				t.Errorf("sample %d: %v", fail, err)
			}
		})
	}
	for _, takes := range []time.Duration{0, time.Millisecond, 30 * time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeoutCause(t.Context(), 35*time.Millisecond, errFake)
			defer cancel()
			if _, err := playFake(ctx, t, &fakeReader{takes: takes}, 3, nil); !errors.Is(err, errFake) {
				t.Errorf("%v a sample: %v", takes, err)
			}
		})
	}
}

// TestPlot: it is XML, with a line for each way and panel that has values.
func TestPlot(t *testing.T) {
	au := 0.5
	for _, ways := range [][][]Epoch{
		{{{Via: "ioctl", SamplesPerSecond: 1234, AU: &au}, {Via: "ioctl", SamplesPerSecond: 2, AU: &au}}, {{Via: "<&>", AU: &au}, {Via: "<&>", AU: &au}}},
		{{{Via: "ioctl", SamplesPerSecond: 1e-9}}},
	} {
		var b bytes.Buffer
		if err := writePlot(&b, "<title>", "note", ways); err != nil {
			t.Fatal(err)
		}
		lines := 0
		for d := xml.NewDecoder(&b); ; {
			token, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if e, ok := token.(xml.StartElement); ok && e.Name.Local == "path" && len(e.Attr) == 4 {
				lines++
			}
		}
		want := len(ways)
		if ways[0][0].AU != nil {
			want *= 2
		}
		if lines != want {
			t.Errorf("%d lines, want %d", lines, want)
		}
	}
}
