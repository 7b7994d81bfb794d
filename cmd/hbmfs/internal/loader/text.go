package loader

import (
	"fmt"
	"strings"
)

// RowHeader is the head of a table of [Epoch.Row].
const RowHeader = "VIA    EPOCH  SAMPLES/S      MB/s    P50 MS     P99 MS   HITS    AMPL     AU"

// Row is a row of a table.
func (e Epoch) Row() string {
	epoch := fmt.Sprint(e.Epoch)
	if e.Epoch == 0 {
		epoch = "all"
	}
	return fmt.Sprintf("%-6s %5s  %9.1f  %8.1f  %8.3f  %9.3f  %5s  %6.2f  %5s",
		e.Via, epoch, e.SamplesPerSecond, e.MBps, e.P50, e.P99, ratioText(e.HitRatio), e.Amplification, ratioText(e.AU))
}

func ratioText(ratio *float64) string {
	if ratio == nil {
		return "-"
	}
	return fmt.Sprintf("%.3f", *ratio)
}

// WorkloadNames are the names of [Workloads].
func WorkloadNames() (names []string) {
	for _, w := range Workloads {
		names = append(names, w.Name)
	}
	return names
}

// WayNames are the names of ways.
func WayNames(ways []Way) (names []string) {
	for _, w := range ways {
		names = append(names, w.Name)
	}
	return names
}

// DescribeWorkloads is a line for each of [Workloads].
func DescribeWorkloads() string {
	var b strings.Builder
	for _, w := range Workloads {
		sample, compute := "one sample each", w.Compute.String()
		if w.Sample > 0 {
			sample = fmt.Sprintf("samples of %d bytes", w.Sample)
		}
		if w.Compute == 0 {
			compute = "as fast as they come"
		}
		fmt.Fprintf(&b, "  %-10s %7d files of %.4g MB, %s; batches of %d, %s\n", w.Name, w.Files, float64(w.Size)/1e6, sample, w.Batch, compute)
	}
	return b.String()
}

// DescribeWays is a line for each of [Ways].
func DescribeWays() string {
	var b strings.Builder
	for _, w := range Ways {
		fmt.Fprintf(&b, "  %-10s %s\n", w.Name, w.About)
	}
	return b.String()
}
