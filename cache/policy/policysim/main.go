// Command policysim drives package policy, and its rivals, with the accesses of
// loaders, and counts which part of them finds what it wants. It prints that as a
// table, or writes it, with a plot, into a directory. It owns nothing of the cache.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	items := flag.Int("items", 20000, "things in the data set")
	out := flag.String("out", "", "write README.md and traces.svg into this `directory`")
	flag.Parse()
	results := simulate(*items)
	if *out == "" {
		fmt.Print(table(results))
		return
	}
	if err := write(*out, *items, results); err != nil {
		fmt.Fprintln(os.Stderr, "policysim:", err)
		os.Exit(1)
	}
}

func write(dir string, items int, results []result) error {
	page := fmt.Sprintf(page, items, epochs, table(results))
	if err := os.WriteFile(filepath.Join(dir, "README.md"), []byte(page), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "traces.svg"), []byte(plot(results)), 0o644)
}

// page has the number of things, that of epochs, and the table.
const page = `# Which extents stay

Hit ratios of the rule of this package (see its comment) beside others, over what loaders access: %d things of one size, %d epochs, the first
of which only fills the pool. "Belady" looks into the future: nothing can be better. Made by ` + "`go generate ./cache/policy`" + `.

%s
- *shuffled, sequential epochs*: each thing once an epoch, in another order each time, or always in the same. The best possible is the pool's part of the data set.
- *zipf*: drawn independently, the k-th as often as k to the power of -0.9.
- *a scan over a hot set*: every other access is of a hot 5 %% of the data set, the others are of things that never come again.
- *two jobs*: both take each thing once an epoch, each in its own order, one access in turn.
- *another data set*: as many shuffled epochs of another one follow; counted is from its fourth epoch on.

![hit ratios](traces.svg)
`

// shares are the pool's, in percent of the data set.
var shares = []int{10, 25, 50}

// result is the hit ratios of all policies, in their order, for a trace and a pool.
type result struct {
	trace string
	share int
	hits  []float64
}

func simulate(items int) []result {
	var all []result
	for _, tr := range traces(items) {
		for _, share := range shares {
			r := result{trace: tr.name, share: share}
			for _, p := range policies {
				r.hits = append(r.hits, tr.ratio(p.make(items*share/100, tr.keys)))
			}
			all = append(all, r)
		}
	}
	return all
}
