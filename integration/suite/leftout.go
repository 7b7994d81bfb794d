package main

import (
	"fmt"
	"path"
	"regexp"
	"strings"
)

// skip is a test that was left out.
type skip struct{ pkg, test, reason string }

// logLine is what t.Log and t.Skip write: where, and what.
var logLine = regexp.MustCompile(`^\s+\S+\.go:\d+: (?:unsupported: )?(.*)`)

// reason is the last that a test logged.
func (p *pkg) reason(test string) string {
	last := "it does not say why"
	for _, l := range p.lines {
		if m := logLine.FindStringSubmatch(l.text); m != nil && l.test == test {
			last = m[1]
		}
	}
	return last
}

// writeLeftOut lists the tests that were left out, by reason.
func (r *report) writeLeftOut() {
	if len(r.skipped) == 0 {
		return
	}
	fmt.Fprintf(r.out, "\nleft out (%d tests):\n", len(r.skipped))
	var reasons []string
	tests := map[string][]string{}
	for _, s := range r.skipped {
		if tests[s.reason] == nil {
			reasons = append(reasons, s.reason)
		}
		tests[s.reason] = append(tests[s.reason], path.Base(s.pkg)+"."+s.test)
	}
	for _, reason := range reasons {
		fmt.Fprintf(r.out, "  %s\n      %s\n", reason, strings.Join(tests[reason], " "))
	}
}
