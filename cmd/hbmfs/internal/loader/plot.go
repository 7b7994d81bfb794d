package loader

import (
	"fmt"
	"html"
	"io"
	"math"
	"strings"
)

// The plot's geometry, in SVG user units: two panels, one above the other.
const (
	plotWidth, plotHeight = 760, 560
	plotLeft, plotRight   = 80, 640 // of the axes; the lines' names stand right of them
	panelTop, panelHeight = 70, 190
	panelGap              = 50
	nameGap               = 18
)

// Hues that colour-blind readers can tell apart (Okabe and Ito).
var colours = []string{"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"}

// panel is a quantity over epochs. Its axis begins at 0.
type panel struct {
	name string
	of   func(Epoch) (float64, bool)
}

var panels = []panel{
	{"samples a second", func(e Epoch) (float64, bool) { return e.SamplesPerSecond, true }},
	{"AU", func(e Epoch) (float64, bool) {
		if e.AU == nil {
			return 0, false
		}
		return *e.AU, true
	}},
}

// writePlot writes as SVG what came of each epoch: a line for each way.
func writePlot(w io.Writer, title, note string, ways [][]Epoch) error {
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" font-family="DejaVu Sans, Helvetica, Arial, sans-serif" font-size="12" fill="#222">`+"\n",
		plotWidth, plotHeight, plotWidth, plotHeight)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="#fff"/>`+"\n", plotWidth, plotHeight)
	text(&b, plotLeft, 24, `font-size="15" font-weight="bold"`, title)
	text(&b, plotLeft, 44, `fill="#666"`, note)
	for i, p := range panels {
		p.draw(&b, float64(panelTop+i*(panelHeight+panelGap)), ways)
	}
	for i, epochs := range ways {
		text(&b, plotRight+10, float64(panelTop+4+i*nameGap), fmt.Sprintf(`fill="%s" font-weight="bold"`, colours[i%len(colours)]), epochs[0].Via)
	}
	b.WriteString("</svg>\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// draw draws a panel whose upper edge is at top.
func (p panel) draw(b *strings.Builder, top float64, ways [][]Epoch) {
	step, most := p.marks(ways)
	bottom := top + panelHeight
	y := func(v float64) float64 { return bottom - v/most*panelHeight }
	for mark := 0.0; mark <= most*(1+1e-9); mark += step {
		fmt.Fprintf(b, `<path d="M%d %.1fH%d" stroke="#ddd"/>`+"\n", plotLeft, y(mark), plotRight)
		text(b, plotLeft-8, y(mark)+4, `text-anchor="end"`, fmt.Sprintf("%.4g", mark))
	}
	epochs := len(ways[0])
	x := func(i int) float64 { return plotLeft + (plotRight-plotLeft)*(float64(i)+0.5)/float64(epochs) }
	for i := range epochs {
		text(b, x(i), bottom+16, `text-anchor="middle"`, fmt.Sprint(i+1))
	}
	text(b, (plotLeft+plotRight)/2, bottom+34, `text-anchor="middle"`, "epoch")
	text(b, 0, 0, fmt.Sprintf(`text-anchor="middle" transform="translate(22 %.1f) rotate(-90)"`, (top+bottom)/2), p.name)
	for i, way := range ways {
		p.line(b, way, colours[i%len(colours)], x, y)
	}
}

func (p panel) line(b *strings.Builder, epochs []Epoch, colour string, x func(int) float64, y func(float64) float64) {
	var path strings.Builder
	for i, e := range epochs {
		v, ok := p.of(e)
		if !ok {
			return
		}
		fmt.Fprintf(&path, "%c%.1f %.1f", "ML"[min(i, 1)], x(i), y(v))
		fmt.Fprintf(b, `<circle cx="%.1f" cy="%.1f" r="3.5" fill="%s"/>`+"\n", x(i), y(v), colour)
	}
	fmt.Fprintf(b, `<path d="%s" fill="none" stroke="%s" stroke-width="2"/>`+"\n", &path, colour)
}

// marks says how far apart the marks of the axis are, and where the last one is:
// 1, 2 or 5 times a power of ten apart, and five at most beside 0.
func (p panel) marks(ways [][]Epoch) (step, last float64) {
	most := 0.0
	for _, way := range ways {
		for _, e := range way {
			if v, ok := p.of(e); ok {
				most = max(most, v)
			}
		}
	}
	if most == 0 {
		return 1, 1
	}
	decade := math.Pow(10, math.Floor(math.Log10(most/5)))
	for _, m := range []float64{1, 2, 5, 10} {
		if step = m * decade; step*5 >= most*(1-1e-9) {
			break
		}
	}
	return step, step * math.Ceil(most/step-1e-9)
}

func text(b *strings.Builder, x, y float64, attributes, content string) {
	fmt.Fprintf(b, `<text x="%.1f" y="%.1f" %s>%s</text>`+"\n", x, y, attributes, html.EscapeString(content))
}
