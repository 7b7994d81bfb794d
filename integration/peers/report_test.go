package main

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func someResults() []result {
	return []result{
		{row: row{id: "a", what: "fast thing", beside: "peer", unit: gigabytes, rule: atLeast(1)},
			status: met, ours: sample{4e9, 2e9, 3e9}, peer: sample{2e9, 2e9, 2e9}, note: "how it ran",
			costs: [2]*cost{{client: sample{1e-6}, daemon: sample{2e-6}}, {client: sample{4e-6}}}},
		{row: row{id: "b", what: "slow thing", beside: "peer", unit: micros, rule: within(1.3)},
			status: below, ours: sample{2e-6}, peer: sample{1e-6}},
		{row: row{id: "c", what: "lonely thing", beside: "absent", unit: seconds, rule: faster(3)},
			status: notMeasured, note: "absent not installed"},
	}
}

func TestTable(t *testing.T) {
	var b strings.Builder
	if err := writeTable(&b, someResults()); err != nil {
		t.Fatal(err)
	}
	want := strings.Join([]string{
		"row  what          hbmfs   beside  peer    ratio  [rounds]     bound   ",
		"a    fast thing    3 GB/s  peer    2 GB/s  1.50   [1.00 2.00]  ≥ 1.00  ok",
		"b    slow thing    2 µs    peer    1 µs    2.00   [2.00 2.00]  ≤ 1.30  BELOW",
		"c    lonely thing  -       absent  -       -      -            ≥ 3.00  not measured",
		"  a: how it ran",
		"  a: CPU time for each: hbmfs client 1.00 + daemon 2.00 = 3.00 µs; peer client 4.00 = 4.00 µs",
		"  c: absent not installed",
		"",
	}, "\n")
	if got := b.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestVerdict(t *testing.T) {
	all := someResults()
	for _, c := range []struct {
		rep    benchReport
		strict bool
		want   error
	}{
		{benchReport{results: all[:1]}, true, nil},
		{benchReport{results: []result{all[0], all[2]}}, true, nil},
		{benchReport{results: all}, true, errBelow},
		{benchReport{results: all}, false, nil},
		{benchReport{results: all[1:2]}, false, nil},
		{benchReport{results: []result{{status: failed}}}, false, errFailed},
		{benchReport{results: all[:1], sweep: io.ErrUnexpectedEOF}, false, errFailed},
	} {
		if err := c.rep.verdict(c.strict); !errors.Is(err, c.want) {
			t.Errorf("verdict %v, want %v", err, c.want)
		}
	}
	if (&benchReport{results: all[2:]}).verdict(false) == nil {
		t.Error("a report without a single measurement passes")
	}
}

// someLines has as many points as there are request sizes.
func someLines() []line {
	lines := []line{{name: "first & <best>"}, {name: "second"}, {name: "third"}}
	for i := range requestSizes {
		rate := 1e9 * float64(i+1)
		lines[0].points = append(lines[0].points, sample{rate, rate * 1.1, rate * 0.9})
		lines[1].points = append(lines[1].points, sample{rate / 2})
		lines[2].points = append(lines[2].points, sample{rate/2 + 1e7})
	}
	return lines
}

func TestJSON(t *testing.T) {
	path := filepath.Join(t.TempDir(), "report.json")
	rep := benchReport{results: someResults(), lines: someLines()}
	if err := rep.writeJSON(path); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var got reportJSON
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if r := got.Rows[0]; *r.Ratio != 1.5 || r.Unit != "bytes/s" || !slices.Equal(r.Ours, []float64{4e9, 2e9, 3e9}) {
		t.Errorf("row a: ratio %v, unit %q, rounds %v", *r.Ratio, r.Unit, r.Ours)
	}
	if r := got.Rows[0]; !slices.Equal(r.OursCPU.Daemon, []float64{2e-6}) || got.Rows[1].OursCPU != nil {
		t.Errorf("CPU of row a %+v, of row b %+v", r.OursCPU, got.Rows[1].OursCPU)
	}
	if r := got.Rows[2]; r.Ratio != nil || r.Status != "not measured" {
		t.Errorf("row c: ratio %v, status %q; want none, not measured", r.Ratio, r.Status)
	}
	if len(got.Sweep) != 3*len(requestSizes) || got.Sweep[1].Request != requestSizes[1] {
		t.Errorf("%d points, second %+v", len(got.Sweep), got.Sweep[1])
	}
}

func TestSweepTable(t *testing.T) {
	var b strings.Builder
	if err := writeSweep(&b, someLines()); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(b.String()), "\n")
	if len(lines) != 2+len(requestSizes) || !slices.Equal(strings.Fields(lines[1]), []string{"4", "KiB", "1", "0.5", "0.51"}) {
		t.Errorf("got\n%s", b.String())
	}
}

// texts returns the text of every element of an XML document that is well formed.
func texts(t *testing.T, doc string) (all []string) {
	t.Helper()
	for d := xml.NewDecoder(strings.NewReader(doc)); ; {
		token, err := d.Token()
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		if c, ok := token.(xml.CharData); ok && strings.TrimSpace(string(c)) != "" {
			all = append(all, string(c))
		}
	}
}

func TestPlotSaysWhatItShows(t *testing.T) {
	var b strings.Builder
	rep := benchReport{host: "2 CPUs", lines: someLines()}
	if err := rep.plot().Write(&b); err != nil {
		t.Fatal(err)
	}
	got := texts(t, b.String())
	for _, want := range []string{"Throughput against request size", "2 CPUs", sweepNote, "request size", "throughput, GB/s", "4 KiB", "1 MiB", "16 MiB", "1", "first & <best>", "second"} {
		if !slices.Contains(got, want) {
			t.Errorf("no text %q in %q", want, got)
		}
	}
}
