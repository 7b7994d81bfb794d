package main

import (
	"fmt"
	"strings"
	"time"
)

func (s *stage) report(number int, p *performance) {
	var done [operations]uint64
	var stale, failed, away, unknown, ringed, placed, told uint64
	for i := range p.board.threads {
		t := &p.board.threads[i]
		for op := range done {
			done[op] += t.done[op].Load()
		}
		stale += t.stale.Load()
		failed += t.errors.Load()
		away += t.away.Load()
		unknown += t.unknown.Load()
		ringed += t.ringed.Load()
		placed += t.placed.Load()
		told += t.told.Load()
	}
	var struck []string
	for _, f := range faults {
		if n := p.strikes[f.name]; n > 0 {
			struck = append(struck, fmt.Sprintf("%s %d", f.name, n))
		}
	}
	fmt.Printf("round %d: %d FETCHes, %d operations of rings, %d ranges into buffers (%d flagged as of a target away, %d of a writer), %d revocations told, %d reads, %d opens, %d ESTALE, %d other errors; %d writes, held %.1f s at most\n",
		number+1, p.fetched(), ringed, placed, away, unknown, told, done[opRead], done[opOpen], stale, failed,
		p.writer.writes.Load(), time.Duration(p.writer.longest.Load()).Seconds())
	fmt.Printf("  %v; checked %v\n", s.setting, amountOf(p.board))
	fmt.Printf("  the last mount: %s\n", p.did)
	fmt.Printf("  faults: %s\n", strings.Join(struck, ", "))
	if len(s.faults) > 0 {
		fmt.Printf("  %s\n", strings.Join(s.struck, "\n  "))
	}
	s.reportFaults()
}

func (s *stage) reportFaults() {
	for i, text := range s.faults {
		if i == 20 {
			fmt.Printf("  and %d more\n", len(s.faults)-i)
			break
		}
		fmt.Printf("  WRONG: %s\n", text)
	}
}
