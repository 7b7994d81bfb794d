package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"sync"
	"text/tabwriter"
	"time"

	"hbmfs/fs/client"
	"hbmfs/transport"
)

// way is how a file's bytes came, and why so.
type way struct {
	path   transport.Path
	reason string
}

// emptyFile has no bytes that came any way.
var emptyFile = way{transport.PathNone, "empty file"}

// row is one line of the table.
type row struct {
	way
	files, bytes, segments int64
	mismatches             int64
}

// add counts a part of a file. The file's way is the least direct of its parts'.
func (r *row) add(part *client.Fetch) {
	if part.Fetched == 0 {
		return
	}
	if r.bytes == 0 || part.Path < r.path {
		r.way = way{part.Path, part.Why.String()}
	}
	r.bytes += part.Fetched
	r.segments += int64(len(part.Segments))
}

// tally adds up what the concurrent fetches found.
type tally struct {
	mu    sync.Mutex
	rows  map[way]*row // guarded by mu
	first []string     // the first mismatches; guarded by mu
}

// shownMismatches bounds how many mismatches are told one by one.
const shownMismatches = 10

func (t *tally) add(name string, r row, found []mismatch) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.rows == nil {
		t.rows = make(map[way]*row)
	}
	sum := t.rows[r.way]
	if sum == nil {
		sum = &row{way: r.way}
		t.rows[r.way] = sum
	}
	sum.files += r.files
	sum.bytes += r.bytes
	sum.segments += r.segments
	sum.mismatches += int64(len(found))
	for _, m := range found[:min(len(found), shownMismatches-len(t.first))] {
		t.first = append(t.first, fmt.Sprintf("%s %v", name, m))
	}
}

// print writes the table and returns how many words were wrong.
func (t *tally) print(out io.Writer, took time.Duration) int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	rows := make([]*row, 0, len(t.rows))
	for _, r := range t.rows {
		rows = append(rows, r)
	}
	slices.SortFunc(rows, func(a, b *row) int { return cmp.Compare(b.bytes, a.bytes) })
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "files\tbytes\tsegments\tpath\treason\tGB/s\tmismatches")
	var wrong int64
	for _, r := range rows {
		rate := float64(r.bytes) / took.Seconds() / 1e9
		fmt.Fprintf(w, "%d\t%d\t%d\t%s\t%s\t%.2f\t%d\n", r.files, r.bytes, r.segments, r.path, r.reason, rate, r.mismatches)
		wrong += r.mismatches
	}
	w.Flush()
	for _, m := range t.first {
		fmt.Fprintln(out, m)
	}
	fmt.Fprintf(out, "mismatches: %d\n", wrong)
	return wrong
}
