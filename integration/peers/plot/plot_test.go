package plot

import (
	"math"
	"slices"
	"testing"
)

func TestPlotScale(t *testing.T) {
	for _, c := range []struct {
		point Point
		marks []float64
	}{
		{Point{0.3e9, 2e9, 4.1e9}, []float64{2e8, 5e8, 1e9, 2e9, 5e9}},
		{Point{1e9, 1e9, 1e9}, []float64{1e9}},
		{Point{7e8, 7e8, 12e9}, []float64{5e8, 1e9, 2e9, 5e9, 1e10, 2e10}},
	} {
		p := Plot{Lines: []Line{{Points: []Point{c.point}}}}
		p.scale()
		if !slices.EqualFunc(p.marks, c.marks, near) {
			t.Errorf("%v: marks %v, want %v", c.point, p.marks, c.marks)
		}
	}
}

func near(a, b float64) bool { return math.Abs(a-b) <= 1e-6*math.Abs(b) }

func TestPlotCoordinates(t *testing.T) {
	p := Plot{Requests: []int64{4 << 10, 256 << 10, 16 << 20}, Lines: []Line{{Points: []Point{{1e9, 1e9, 2e9}, {3e9, 4e9, 7.7e9}}}}}
	p.scale()
	left, middle, right := p.x(0), p.x(1), p.x(2)
	if !near(middle-left, right-middle) || left < plotLeft || right > plotRight {
		t.Errorf("sizes that grow by the same factor are at %g, %g, %g", left, middle, right)
	}
	if first, last := p.y(p.marks[0]), p.y(p.marks[len(p.marks)-1]); first != plotBottom || !near(last, plotTop) {
		t.Errorf("the axis goes from %g to %g", first, last)
	}
}
