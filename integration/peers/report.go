package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"

	"hbmfs/integration/peers/plot"
)

// benchReport is everything that one run found out.
type benchReport struct {
	host    string
	setting string
	results []result
	lines   []line
	sweep   error // why there is no sweep
}

// measureAll runs the rows, or the one that was asked for, and the sweep.
func (b *bench) measureAll(ctx context.Context) benchReport {
	rep := benchReport{host: describeHost(), setting: b.describe()}
	for _, r := range rows {
		if !b.wants(r.id) {
			continue
		}
		b.title = r.id
		b.say(r.what)
		res := b.measureRow(ctx, r)
		b.say(fmt.Sprintf("%s %s", res.status, res.note))
		rep.results = append(rep.results, res)
	}
	if b.wants(sweepID) {
		b.title = sweepID
		rep.lines, rep.sweep = b.sweep(ctx)
	}
	return rep
}

func (b *bench) describe() string {
	return fmt.Sprintf("%s file in the page cache, %s pool touched before, %s extents, %d connections, "+
		"fetches of %s with %d in flight, medians of %d interleaved rounds",
		formatSize(b.size), formatSize(poolSize), formatSize(extent), connections,
		formatSize(window), inFlight, b.rounds)
}

func describeHost() string {
	release, _ := os.ReadFile("/proc/sys/kernel/osrelease") // what can't be read is left out
	return fmt.Sprintf("%d CPUs, Linux %s, %s", runtime.NumCPU(), bytes.TrimSpace(release), runtime.Version())
}

// write writes the table, and the JSON and the plot where asked for.
func (r *benchReport) write(w io.Writer, o options) error {
	fmt.Fprintf(w, "%s\n%s\n\n", r.host, r.setting)
	err := writeTable(w, r.results)
	fmt.Fprintln(w)
	err = errors.Join(err, writeSweep(w, r.lines))
	if o.json != "" {
		err = errors.Join(err, r.writeJSON(o.json))
	}
	if o.svg != "" && len(r.lines) > 0 {
		err = errors.Join(err, r.writeSVG(o.svg))
	}
	return err
}

func (r *benchReport) writeSVG(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(r.plot().Write(f), f.Close())
}

func (r *benchReport) plot() *plot.Plot {
	p := &plot.Plot{Title: "Throughput against request size", Subtitle: r.host, Note: sweepNote, Requests: requestSizes}
	for _, request := range requestSizes {
		p.Marks = append(p.Marks, formatSize(request))
	}
	for _, l := range r.lines {
		drawn := plot.Line{Name: l.name}
		for _, s := range l.points {
			drawn.Points = append(drawn.Points, plot.Point{Least: s.min(), Median: s.median(), Most: s.max()})
		}
		p.Lines = append(p.Lines, drawn)
	}
	return p
}

// verdict is nil if nothing failed and at least one row was measured; if strict,
// each of those must meet its bound as well. The table says which does not.
func (r *benchReport) verdict(strict bool) error {
	var errs []error
	if ids := r.with(below); strict && len(ids) > 0 {
		errs = append(errs, fmt.Errorf("%w: %s", errBelow, strings.Join(ids, ", ")))
	}
	if ids := r.with(failed); len(ids) > 0 {
		errs = append(errs, fmt.Errorf("%w: %s", errFailed, strings.Join(ids, ", ")))
	}
	if r.sweep != nil {
		errs = append(errs, fmt.Errorf("%w: %s: %w", errFailed, sweepID, r.sweep))
	}
	if len(errs) == 0 && len(r.lines)+len(r.with(met))+len(r.with(below)) == 0 {
		return errors.New("nothing was measured")
	}
	return errors.Join(errs...)
}

// with lists the rows that ended so.
func (r *benchReport) with(s status) (ids []string) {
	for _, res := range r.results {
		if res.status == s {
			ids = append(ids, res.id)
		}
	}
	return ids
}

// What the JSON holds. Values are in base units: bytes, seconds, and each of
// them a second.
type (
	reportJSON struct {
		Host     string      `json:"host"`
		Settings string      `json:"settings"`
		Rows     []rowJSON   `json:"rows"`
		Sweep    []pointJSON `json:"sweep"`
	}
	rowJSON struct {
		ID     string    `json:"id"`
		What   string    `json:"what"`
		Beside string    `json:"beside"`
		Status string    `json:"status"`
		Ratio  *float64  `json:"ratio"` // null: not measured
		Bound  float64   `json:"bound"`
		AtMost bool      `json:"at_most"` // the bound is an upper one
		Unit   string    `json:"unit"`
		Ours   []float64 `json:"hbmfs"` // each round
		Peer   []float64 `json:"peer"`
		// CPU time for each item, of each process.
		OursCPU *costJSON `json:"hbmfs_cpu,omitempty"`
		PeerCPU *costJSON `json:"peer_cpu,omitempty"`
		Note    string    `json:"note,omitempty"`
	}
	costJSON struct {
		Client []float64 `json:"client"`
		Daemon []float64 `json:"daemon"`
		Target []float64 `json:"target"`
	}
	pointJSON struct {
		Path    string    `json:"path"`
		Request int64     `json:"request_bytes"`
		Rates   []float64 `json:"bytes_per_second"` // each round
	}
)

func (r *benchReport) writeJSON(path string) error {
	doc := reportJSON{Host: r.host, Settings: r.setting, Rows: []rowJSON{}, Sweep: []pointJSON{}}
	for _, res := range r.results {
		doc.Rows = append(doc.Rows, res.json())
	}
	for _, l := range r.lines {
		for i, s := range l.points {
			doc.Sweep = append(doc.Sweep, pointJSON{l.name, requestSizes[i], s})
		}
	}
	text, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}

func (r result) json() rowJSON {
	j := rowJSON{ID: r.id, What: r.what, Beside: r.beside, Status: string(r.status), Bound: r.rule.bound,
		AtMost: r.rule.atMost, Unit: r.unit.base, Ours: r.ours, Peer: r.peer, Note: r.note,
		OursCPU: r.costs[0].json(), PeerCPU: r.costs[1].json()}
	if len(r.ours) > 0 {
		ratio := r.figure()
		j.Ratio = &ratio
	}
	return j
}

func (c *cost) json() *costJSON {
	if c == nil {
		return nil
	}
	return &costJSON{c.client, c.daemon, c.target}
}
