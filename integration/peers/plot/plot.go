// Package plot draws throughput against request size, as SVG.
//
// It holds nothing, and no lock.
package plot

import (
	"fmt"
	"html"
	"io"
	"math"
	"strings"
)

// The plot's geometry, in SVG user units.
const (
	plotWidth, plotHeight = 820, 490
	plotLeft, plotRight   = 70, 620 // of the axes; the lines' names stand right of them
	plotTop, plotBottom   = 60, 400
	nameGap               = 18 // of the lines' names
)

// Hues that colour-blind readers can tell apart (Okabe and Ito).
var lineColours = []string{"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"}

// Plot is throughput against request size: a line for each path. Both axes are
// logarithmic.
type Plot struct {
	Title, Subtitle string
	Note            string   // below
	Requests        []int64  // bytes, ascending: the x axis
	Marks           []string // what is written there
	Lines           []Line

	marks []float64 // bytes a second, ascending: the y axis
}

// Line is one path's, with a point for each request size.
type Line struct {
	Name   string
	Points []Point
}

// Point is what many rounds found, in bytes a second.
type Point struct{ Least, Median, Most float64 }

// Write writes the plot as SVG: medians as lines, and what all rounds found as bars.
func (p *Plot) Write(w io.Writer) error {
	p.scale()
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" font-family="DejaVu Sans, Helvetica, Arial, sans-serif" font-size="12" fill="#222">`+"\n",
		plotWidth, plotHeight, plotWidth, plotHeight)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="#fff"/>`+"\n", plotWidth, plotHeight)
	p.axes(&b)
	for i, l := range p.Lines {
		colour := lineColours[i%len(lineColours)]
		p.line(&b, l, colour)
		text(&b, plotRight+6, float64(plotTop+4+i*nameGap), fmt.Sprintf(`fill="%s" font-weight="bold"`, colour), l.Name)
	}
	text(&b, plotLeft, plotHeight-8, `font-size="11" fill="#666"`, p.Note)
	b.WriteString("</svg>\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// scale chooses the marks of the y axis: 1, 2 and 5 times powers of ten, from
// below the least sample to above the greatest.
func (p *Plot) scale() {
	least, most := math.Inf(1), 0.0
	for _, l := range p.Lines {
		for _, s := range l.Points {
			least, most = min(least, s.Least), max(most, s.Most)
		}
	}
	p.marks = []float64{markBelow(least)}
	for p.marks[len(p.marks)-1] < most {
		p.marks = append(p.marks, markAbove(p.marks[len(p.marks)-1]))
	}
}

// markBelow is the greatest mark that is at most v, which is positive.
func markBelow(v float64) float64 {
	mark := math.Pow(10, math.Floor(math.Log10(v)))
	for next := markAbove(mark); next <= v; next = markAbove(mark) {
		mark = next
	}
	return mark
}

// markAbove is the mark that follows one.
func markAbove(mark float64) float64 {
	decade := math.Pow(10, math.Floor(math.Log10(mark)+1e-9))
	for _, m := range []float64{2, 5} {
		if next := m * decade; next > mark*1.01 {
			return next
		}
	}
	return 10 * decade
}

func (p *Plot) x(i int) float64 {
	const margin = 20
	at := position(float64(p.Requests[i]), float64(p.Requests[0]), float64(p.Requests[len(p.Requests)-1]))
	return plotLeft + margin + at*(plotRight-plotLeft-2*margin)
}

func (p *Plot) y(rate float64) float64 {
	return plotBottom - position(rate, p.marks[0], p.marks[len(p.marks)-1])*(plotBottom-plotTop)
}

// position is where v lies on a logarithmic axis: 0 at its first value, 1 at its
// last.
func position(v, first, last float64) float64 {
	if first == last {
		return 0
	}
	return math.Log(v/first) / math.Log(last/first)
}

func (p *Plot) axes(b *strings.Builder) {
	text(b, plotLeft, 24, `font-size="15" font-weight="bold"`, p.Title)
	text(b, plotLeft, 44, `fill="#666"`, p.Subtitle)
	for _, mark := range p.marks {
		y := p.y(mark)
		fmt.Fprintf(b, `<path d="M%d %.1fH%d" stroke="#ddd"/>`+"\n", plotLeft, y, plotRight)
		text(b, plotLeft-8, y+4, `text-anchor="end"`, fmt.Sprintf("%.3g", mark/1e9))
	}
	for i := range p.Requests {
		x := p.x(i)
		fmt.Fprintf(b, `<path d="M%.1f %dv5" stroke="#222"/>`+"\n", x, plotBottom)
		text(b, x, plotBottom+20, `text-anchor="middle"`, p.Marks[i])
	}
	fmt.Fprintf(b, `<path d="M%d %dH%d" stroke="#222"/>`+"\n", plotLeft, plotBottom, plotRight)
	text(b, (plotLeft+plotRight)/2, plotBottom+46, `text-anchor="middle"`, "request size")
	text(b, 0, 0, fmt.Sprintf(`text-anchor="middle" transform="translate(22 %d) rotate(-90)"`, (plotTop+plotBottom)/2), "throughput, GB/s")
}

func (p *Plot) line(b *strings.Builder, l Line, colour string) {
	var path strings.Builder
	for i, s := range l.Points {
		x := p.x(i)
		fmt.Fprintf(&path, "%c%.1f %.1f", "ML"[min(i, 1)], x, p.y(s.Median))
		fmt.Fprintf(b, `<path d="M%.1f %.1fV%.1f" stroke="%s" stroke-width="5" stroke-opacity="0.25"/>`+"\n", x, p.y(s.Least), p.y(s.Most), colour)
		fmt.Fprintf(b, `<circle cx="%.1f" cy="%.1f" r="3.5" fill="%s"/>`+"\n", x, p.y(s.Median), colour)
	}
	fmt.Fprintf(b, `<path d="%s" fill="none" stroke="%s" stroke-width="2"/>`+"\n", &path, colour)
}

func text(b *strings.Builder, x, y float64, attributes, content string) {
	fmt.Fprintf(b, `<text x="%.1f" y="%.1f" %s>%s</text>`+"\n", x, y, attributes, html.EscapeString(content))
}
