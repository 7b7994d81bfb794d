package main

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"hbmfs/integration/peers/load"
	"hbmfs/integration/peers/tagged"
)

// loaderDir is a dataset, and a file for samples, on no mount.
func loaderDir(t *testing.T) dataset {
	t.Helper()
	d := dataset{dir: filepath.Join(t.TempDir(), "d"), files: 8}
	err := errors.Join(d.write(t.Context(), d.dir), tagged.Write(t.Context(), filepath.Join(d.dir, fileName), 1, 8<<20))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestSideMeasuresTheLastStep(t *testing.T) {
	d := loaderDir(t)
	files := load.Job{Kind: load.ReadFiles, Dir: d.dir, Threads: 3, Count: d.files, Seed: 1}
	samples := load.Job{Kind: load.ReadSamples, Dir: d.dir, Threads: 2, Count: 4, Seed: 1, Length: page}
	v := side{mount: served{dir: d.dir}.again}
	p := plan{mounts: 2, steps: [][]load.Job{{samples}, {files, samples}}, check: func(r load.Report) error {
		if want := d.size() + 4*page; r.Items != int64(d.files)+4 || r.Bytes != want || r.Hits != 0 || r.Took <= 0 {
			t.Errorf("%+v, want %d bytes", r, want)
		}
		return nil
	}}
	if rate, err := v.measure(p)(t.Context()); err != nil || rate <= 0 {
		t.Errorf("rate %v, error %v", rate, err)
	}
	if len(v.cost.client) != 1 || v.cost.client[0] <= 0 || v.cost.daemon[0] != 0 {
		t.Errorf("cost %+v", v.cost)
	}
}

func TestChecks(t *testing.T) {
	for _, c := range []struct {
		hits           int64
		cold, resident error
	}{{0, nil, errCold}, {20, nil, errCold}, {21, errWarm, errCold}, {1000, errWarm, nil}} {
		r := load.Report{Bytes: 1000, Hits: c.hits}
		if err := cold(r); !errors.Is(err, c.cold) {
			t.Errorf("%d of 1000: cold: %v", c.hits, err)
		}
		if err := resident(r); !errors.Is(err, c.resident) {
			t.Errorf("%d of 1000: resident: %v", c.hits, err)
		}
	}
}

func TestCostLeavesOutTheFirstRound(t *testing.T) {
	var c cost
	for _, ms := range []time.Duration{90, 2, 4} {
		c.add(cpuTimes{client: ms * time.Millisecond, target: time.Millisecond}, 10)
	}
	if got, want := c.counted().String(), "client 300 + target 100 = 400 µs"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if (*cost)(nil).counted() != nil || new(cost).counted() != nil {
		t.Error("what was not measured has a cost")
	}
}
