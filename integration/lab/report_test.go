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
    c_test.go:12: mount:
        time=now level=WARN msg="request failed"
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
		{"p", "x", "TestC/sub", "FAIL", "0.20s", "c_test.go:9: wrong bytes\nc_test.go:12: mount:"},
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
c_test.go:12: mount:
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

const hung = `=== RUN   TestA
--- PASS: TestA (0.01s)
=== RUN   TestB
=== RUN   TestB/sub
    b_test.go:3: asked
panic: test timed out after 8m0s
	running tests:
		TestB (7m59s)
goroutine 7 [running]:
`

// TestReportHung: a binary that ran out of time names the tests that it was in.
func TestReportHung(t *testing.T) {
	got := results(t, hung, false)
	want := report{
		{"p", "x", "TestA", "PASS", "0.01s", ""},
		{"p", "x", "TestB", "FAIL", "", "did not end: panic: test timed out after 8m0s"},
		{"p", "x", "TestB/sub", "FAIL", "", "did not end: panic: test timed out after 8m0s; it last said: b_test.go:3: asked"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v\nwant %+v", got, want)
	}
	log := &testLog{}
	log.line("=== RUN   TestA")
	if log.ended() {
		t.Error("ended while a test runs")
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

func TestChosen(t *testing.T) {
	all, err := chosen("")
	if err != nil || len(all) == 0 || slices.ContainsFunc(all, func(p part) bool { return p.named }) {
		t.Errorf("all: %v, %v", all, err)
	}
	one, err := chosen("boot")
	if err != nil || len(one) != 1 || one[0].name != "boot" {
		t.Errorf("one: %v, %v", one, err)
	}
	group, err := chosen("devmem")
	if err != nil || len(group) < 2 || slices.ContainsFunc(group, func(p part) bool { return !strings.HasPrefix(p.name, "devmem-") }) {
		t.Errorf("a group: %v, %v", group, err)
	}
	if _, err := chosen("no such"); err == nil {
		t.Error("no error for a part that is none")
	}
}
