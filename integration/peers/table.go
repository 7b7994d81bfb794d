package main

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// writeTable writes the rows, one line each, and their notes below.
func writeTable(w io.Writer, results []result) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "row\twhat\thbmfs\tbeside\tpeer\tratio\t[rounds]\tbound\t")
	for _, r := range results {
		fmt.Fprintln(tw, tableLine(r))
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	for _, r := range results {
		if r.note != "" {
			fmt.Fprintf(w, "  %s: %s\n", r.id, r.note)
		}
		if r.costs[0] != nil {
			fmt.Fprintf(w, "  %s: CPU time for each: hbmfs %v%s\n", r.id, r.costs[0], peerCost(r.costs[1]))
		}
	}
	return nil
}

func peerCost(c *cost) string {
	if c == nil {
		return ""
	}
	return fmt.Sprintf("; peer %v", c)
}

func tableLine(r result) string {
	if len(r.ours) == 0 {
		return fmt.Sprintf("%s\t%s\t-\t%s\t-\t-\t-\t%v\t%s", r.id, r.what, r.beside, r.rule, r.status)
	}
	lo, hi := r.spread()
	return fmt.Sprintf("%s\t%s\t%s\t%s\t%s\t%.2f\t[%.2f %.2f]\t%v\t%s", r.id, r.what, r.side(r.ours),
		r.beside, r.side(r.peer), r.figure(), lo, hi, r.rule, r.status)
}

// side is a sample's median, with the row's unit.
func (r result) side(s sample) string {
	text := r.unit.format(s.median())
	if r.unit.name != "" {
		text += " " + r.unit.name
	}
	return text
}

// writeSweep writes throughput against request size, a line for each size.
func writeSweep(w io.Writer, lines []line) error {
	if len(lines) == 0 {
		return nil
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(tw, "GB/s by request size\t")
	for _, l := range lines {
		fmt.Fprintf(tw, "%s\t", l.name)
	}
	fmt.Fprintln(tw)
	for i, request := range requestSizes {
		fmt.Fprintf(tw, "%s\t", formatSize(request))
		for _, l := range lines {
			fmt.Fprintf(tw, "%.3g\t", l.points[i].median()/1e9)
		}
		fmt.Fprintln(tw)
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintln(w, "  "+sweepNote)
	return err
}
