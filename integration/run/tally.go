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
	"hbmfs/fs/uapi"
)

// way is how a file's bytes came, and why so.
type way struct {
	path   uapi.Path
	reason string
}

// emptyFile has no bytes that came any way.
var emptyFile = way{uapi.PathNone, "empty file"}

// class is what a file is timed with: small ones show what a file costs, large
// ones what a byte does.
type class int

const (
	smallFiles class = iota
	largeFiles
)

// largeFile is the least size of a large file, in bytes.
const largeFile = 1 << 20

func classOf(size int64) class {
	if size >= largeFile {
		return largeFiles
	}
	return smallFiles
}

func (c class) String() string { return [...]string{"< 1 MiB", "≥ 1 MiB"}[c] }

// kind is what a line of the table is about.
type kind struct {
	class
	way
}

// row is one line of the table.
type row struct {
	kind
	files, bytes, segments int64
	mismatches             int64
}

// add counts a part of a file. The file's way is the least direct of its parts'.
func (r *row) add(part *client.Lease) {
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
	rows  map[kind]*row    // guarded by mu
	first []string         // the first mismatches; guarded by mu
	took  [2]time.Duration // how long the files of each class took
}

// shownMismatches bounds how many mismatches are told one by one.
const shownMismatches = 10

func (t *tally) add(name string, r row, found []mismatch) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.rows == nil {
		t.rows = make(map[kind]*row)
	}
	sum := t.rows[r.kind]
	if sum == nil {
		sum = &row{kind: r.kind}
		t.rows[r.kind] = sum
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
func (t *tally) print(out io.Writer) int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	rows := make([]*row, 0, len(t.rows))
	for _, r := range t.rows {
		rows = append(rows, r)
	}
	slices.SortFunc(rows, func(a, b *row) int { return cmp.Or(cmp.Compare(a.class, b.class), cmp.Compare(b.files, a.files)) })
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "files\tof\tbytes\tsegments\tpath\treason\trate\tmismatches")
	var files, bytes, wrong int64
	for _, r := range rows {
		fmt.Fprintf(w, "%d\t%v\t%d\t%d\t%s\t%s\t%s\t%d\n",
			r.files, r.class, r.bytes, r.segments, r.path, r.reason, r.rate(t.took[r.class]), r.mismatches)
		files, bytes, wrong = files+r.files, bytes+r.bytes, wrong+r.mismatches
	}
	w.Flush()
	for _, m := range t.first {
		fmt.Fprintln(out, m)
	}
	fmt.Fprintf(out, "%d files, %.1f MB, in %.1f s: fetched into device memory, and compared there with the original\n",
		files, float64(bytes)/1e6, (t.took[smallFiles] + t.took[largeFiles]).Seconds())
	fmt.Fprintf(out, "mismatches: %d\n", wrong)
	return wrong
}

// rate is what small files cost by number, and large ones by bytes.
func (r *row) rate(took time.Duration) string {
	switch {
	case r.bytes == 0:
		return "-"
	case r.class == smallFiles:
		return fmt.Sprintf("%.0f files/s", float64(r.files)/took.Seconds())
	}
	return fmt.Sprintf("%.2f GB/s", float64(r.bytes)/took.Seconds()/1e9)
}
