package main

import (
	"bytes"
	"reflect"
	"slices"
	"strings"
	"testing"
)

const verbose = `=== RUN   TestA
--- PASS: TestA (0.01s)
=== RUN   TestB
    b_test.go:3: unsupported: no GPU
--- SKIP: TestB (0.00s)
=== RUN   TestC
=== RUN   TestC/sub
    c_test.go:9: wrong bytes
--- FAIL: TestC (0.30s)
    --- FAIL: TestC/sub (0.20s)
=== RUN   TestD
    d_test.go:4: lazy
--- SKIP: TestD (0.00s)
=== RUN   TestE
panic: boom
`

func results(t *testing.T, text string, ok bool) report {
	t.Helper()
	log := &testLog{part: "p", pkg: "x"}
	for line := range strings.Lines(text) {
		log.line(strings.TrimSuffix(line, "\n"))
	}
	return log.end(ok)
}

func TestReport(t *testing.T) {
	got := results(t, verbose, false)
	want := report{
		{"p", "x", "TestA", "PASS", "0.01s", ""},
		{"p", "x", "TestB", "SKIP", "0.00s", "b_test.go:3: unsupported: no GPU"},
		{"p", "x", "TestC", "FAIL", "0.30s", ""},
		{"p", "x", "TestC/sub", "FAIL", "0.20s", "c_test.go:9: wrong bytes"},
		{"p", "x", "TestD", "SKIP", "0.00s", "d_test.go:4: lazy"},
		{"p", "x", "TestE", "FAIL", "", "did not end: panic: boom"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v\nwant %+v", got, want)
	}
	var out bytes.Buffer
	got.print(&out)
	const lines = `PASS p x TestA 0.01s
SKIP p x TestB 0.00s b_test.go:3: unsupported: no GPU
FAIL p x TestC 0.30s
FAIL p x TestC/sub 0.20s c_test.go:9: wrong bytes
SKIP p x TestD 0.00s d_test.go:4: lazy
FAIL p x TestE did not end: panic: boom
`
	if out.String() != lines {
		t.Errorf("printed:\n%s", out.String())
	}
	if counts := got.counts(); counts != "1 passed, 3 failed, 2 skipped" {
		t.Error(counts)
	}
}

func TestReportFails(t *testing.T) {
	for _, c := range []struct {
		text     string
		ok, want bool
	}{
		{"=== RUN   TestA\n--- PASS: TestA (0s)\nPASS\n", true, false},
		{"=== RUN   TestA\n    a.go:1: unsupported: x\n--- SKIP: TestA (0s)\nPASS\n", true, false},
		{"=== RUN   TestA\n    a.go:1: later\n--- SKIP: TestA (0s)\nPASS\n", true, true},
		{"=== RUN   TestA\n--- PASS: TestA (0s)\nFAIL: a goroutine leaked\n", false, true},
		{"=== RUN   TestA\n", true, true},
		{"testing: warning: no tests to run\nPASS\n", true, true},
	} {
		if got := results(t, c.text, c.ok).failed(); got != c.want {
			t.Errorf("%q fails: %v, want %v", c.text, got, c.want)
		}
	}
}

func TestRequired(t *testing.T) {
	r := results(t, verbose, false)
	missing := r.missing(part{required: []string{"TestA", "TestB", "TestZ"}})
	var names []string
	for _, m := range missing {
		names = append(names, m.test)
	}
	if want := []string{"TestB", "TestZ"}; !slices.Equal(names, want) || !missing.failed() {
		t.Errorf("missing %v, want %v", names, want)
	}
}

func TestLineWriter(t *testing.T) {
	var out bytes.Buffer
	var lines []string
	w := &lineWriter{prefix: "> ", w: &out, each: func(line string) { lines = append(lines, line) }}
	for _, piece := range []string{"a", "b\nc\n\n", "d"} {
		if n, err := w.Write([]byte(piece)); n != len(piece) || err != nil {
			t.Errorf("write %q: %d, %v", piece, n, err)
		}
	}
	if want := []string{"ab", "c", ""}; !slices.Equal(lines, want) || out.String() != "> ab\n> c\n> \n" {
		t.Errorf("%q, %q", lines, out.String())
	}
}

func TestChosen(t *testing.T) {
	all, err := chosen("")
	if err != nil || len(all) == 0 || slices.ContainsFunc(all, func(p part) bool { return p.named }) {
		t.Errorf("all: %v, %v", all, err)
	}
	one, err := chosen("boot")
	if err != nil || len(one) != 1 || one[0].name != "boot" {
		t.Errorf("one: %v, %v", one, err)
	}
	if _, err := chosen("no such"); err == nil {
		t.Error("no error for a part that is none")
	}
}
