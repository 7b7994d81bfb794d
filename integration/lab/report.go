package main

import (
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// result is what became of a test.
type result struct {
	part, pkg, test string // test is empty for the whole of pkg
	outcome         string // PASS, FAIL or SKIP
	took            string
	why             string // the last that it logged, unless it passed
}

// report is the results in the order that tests ended.
type report []result

// unsupported starts the reason of every skip that is allowed.
const unsupported = "unsupported: "

// fails says whether r fails the lane: a skip does when it has no good reason.
func (r result) fails() bool {
	return r.outcome == "FAIL" || r.outcome == "SKIP" && !strings.Contains(r.why, unsupported)
}

func (r report) failed() bool { return slices.ContainsFunc(r, result.fails) }

// missing are failures for the tests that p requires and that did not pass.
func (r report) missing(p part) report {
	var all report
	for _, name := range p.required {
		if !slices.ContainsFunc(r, func(have result) bool { return have.test == name && have.outcome != "SKIP" }) {
			all = append(all, result{part: p.name, test: name, outcome: "FAIL", why: "must run and did not"})
		}
	}
	return all
}

// counts is a summary.
func (r report) counts() string {
	n := map[string]int{}
	for _, t := range r {
		n[t.outcome]++
	}
	return fmt.Sprintf("%d passed, %d failed, %d skipped", n["PASS"], n["FAIL"], n["SKIP"])
}

// print writes a line for each test, and for each subtest that did not pass.
func (r report) print(w io.Writer) {
	for _, t := range r {
		if t.outcome != "PASS" || !strings.Contains(t.test, "/") {
			fmt.Fprintln(w, strings.Join(slices.DeleteFunc([]string{t.outcome, t.part, t.pkg, t.test, t.took, t.why}, isEmpty), " "))
		}
	}
}

func isEmpty(s string) bool { return s == "" }

var (
	runLine = regexp.MustCompile(`^=== (RUN|NAME|CONT) +(\S+)$`)
	// breakLine is what Go's runtime writes before it shows goroutines.
	breakLine = regexp.MustCompile(`^(panic|fatal error|SIG[A-Z]+): `)
	endLine   = regexp.MustCompile(`^ *--- (PASS|FAIL|SKIP): (\S+) \((.*)\)$`)
	// ownLine is what a test says itself, and not a program that it shows the log of.
	ownLine = regexp.MustCompile(`^\S+_test\.go:\d+: `)
)

// ownLines is how many of a test's own lines are told of it: what failed, and
// what came before and after.
const ownLines = 6

// testLog reads what a test binary writes with -test.v.
type testLog struct {
	part, pkg string
	results   report
	current   string
	last      string            // of all lines
	broke     string            // the line that began the binary's own end, by a panic or a signal
	said      map[string]string // of each test that has not ended: its own lines, or else the last one
}

func (l *testLog) line(text string) {
	if l.said == nil {
		l.said = map[string]string{}
	}
	if m := runLine.FindStringSubmatch(text); m != nil {
		l.current = m[2]
		l.said[l.current] += ""
		return
	}
	if m := endLine.FindStringSubmatch(text); m != nil {
		r := result{part: l.part, pkg: l.pkg, outcome: m[1], test: m[2], took: m[3]}
		if r.outcome != "PASS" {
			r.why = l.said[r.test]
		}
		delete(l.said, r.test)
		l.results = append(l.results, r)
		return
	}
	if text = strings.TrimSpace(text); text != "" && l.broke == "" { // goroutines follow
		l.last = text
		if breakLine.MatchString(text) {
			l.broke = text
			return
		}
		if said, runs := l.said[l.current]; runs {
			l.said[l.current] = keepLine(said, text)
		}
	}
}

// keepLine adds a line to what a test said before.
func keepLine(said, text string) string {
	switch {
	case !ownLine.MatchString(said):
		return text
	case !ownLine.MatchString(text):
		return said
	}
	lines := append(strings.Split(said, "\n"), text)
	return strings.Join(lines[max(0, len(lines)-ownLines):], "\n")
}

// ended reports whether all tests that ran have ended.
func (l *testLog) ended() bool { return len(l.said) == 0 }

// end returns the results of all tests, of which those that have not ended
// failed. A binary that failed for none of them is a failure of its own.
func (l *testLog) end(ok bool) report {
	for _, test := range slices.Sorted(maps.Keys(l.said)) {
		l.results = append(l.results, result{part: l.part, pkg: l.pkg, test: test, outcome: "FAIL", why: l.unfinished(test)})
	}
	switch {
	case !ok && !l.results.failed():
		l.results = append(l.results, result{part: l.part, pkg: l.pkg, outcome: "FAIL", why: l.last})
	case len(l.results) == 0:
		l.results = append(l.results, result{part: l.part, pkg: l.pkg, outcome: "FAIL", why: "no tests ran"})
	}
	return l.results
}

// unfinished is what is known of a test that has not ended.
func (l *testLog) unfinished(test string) string {
	said := slices.DeleteFunc([]string{l.broke, l.said[test]}, isEmpty)
	return "did not end: " + strings.Join(said, "; it last said: ")
}
