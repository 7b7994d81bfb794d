package main

import (
	"fmt"
	"strings"
)

// table is the results in Markdown.
func table(results []result) string {
	var b strings.Builder
	b.WriteString("| accesses | pool |")
	for _, p := range policies {
		fmt.Fprintf(&b, " %s |", p.name)
	}
	b.WriteString("\n|---|---|" + strings.Repeat("---|", len(policies)) + "\n")
	for _, r := range results {
		fmt.Fprintf(&b, "| %s | %d %% |", r.trace, r.share)
		for _, h := range r.hits {
			fmt.Fprintf(&b, " %.3f |", h)
		}
		b.WriteString("\n")
	}
	return b.String()
}

// Of the plot, in pixels: a panel for each trace, two in a row.
const (
	panelWidth, panelHeight = 380, 200
	barsTop, barsHeight     = 30, 130
	barWidth                = 18
	legendHeight            = 30
)

var colours = []string{"#d1495b", "#8d99ae", "#edae49", "#00798c", "#cccccc"}

// plot is the results as bars, in SVG: in each panel a group for each pool.
func plot(results []result) string {
	var b strings.Builder
	panels := len(results) / len(shares)
	height := legendHeight + (panels+1)/2*panelHeight
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="11">`+"\n", 2*panelWidth, height)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="white"/>`+"\n", 2*panelWidth, height)
	for i, p := range policies {
		fmt.Fprintf(&b, `<rect x="%d" y="10" width="12" height="12" fill="%s"/><text x="%d" y="20">%s</text>`+"\n", 20+i*90, colours[i], 36+i*90, p.name)
	}
	for i := range panels {
		fmt.Fprintf(&b, `<g transform="translate(%d %d)">`+"\n", i%2*panelWidth, legendHeight+i/2*panelHeight)
		panel(&b, results[i*len(shares):][:len(shares)])
		b.WriteString("</g>\n")
	}
	b.WriteString("</svg>\n")
	return b.String()
}

func panel(b *strings.Builder, results []result) {
	fmt.Fprintf(b, `<text x="40" y="20" font-weight="bold">%s</text>`+"\n", results[0].trace)
	for _, tick := range []float64{0, 0.25, 0.5, 0.75, 1} {
		y := barsTop + (1-tick)*barsHeight
		fmt.Fprintf(b, `<line x1="40" x2="%d" y1="%.1f" y2="%.1f" stroke="#eee"/><text x="36" y="%.1f" text-anchor="end">%.2f</text>`+"\n", panelWidth-10, y, y, y+4, tick)
	}
	for i, r := range results {
		left := 50 + i*(len(r.hits)+1)*barWidth
		for j, h := range r.hits {
			fmt.Fprintf(b, `<rect x="%d" y="%.1f" width="%d" height="%.1f" fill="%s"/>`+"\n", left+j*barWidth, barsTop+(1-h)*barsHeight, barWidth-2, h*barsHeight, colours[j])
		}
		fmt.Fprintf(b, `<text x="%d" y="%d">pool %d %%</text>`+"\n", left+10, barsTop+barsHeight+16, r.share)
	}
}
