package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// event is what go test -json writes; see go doc test2json.
type event struct {
	Action  string
	Package string
	Test    string // "": of the package
	Output  string
}

// line is a line of output of a test, or, with test "", of its package.
type line struct{ test, text string }

// pkg is a package whose tests run.
type pkg struct {
	lines   []line
	outcome map[string]string // of the tests that ended: pass, fail or skip
}

// report prints what go test would print, and remembers what was left out.
type report struct {
	out     io.Writer
	verbose bool
	pkgs    map[string]*pkg
	passed  map[string]map[string]bool // by name of a test and package that has it
	skipped []skip
}

func (r *report) read(in io.Reader) error {
	r.pkgs, r.passed = map[string]*pkg{}, map[string]map[string]bool{}
	for lines := bufio.NewReader(in); ; {
		text, err := lines.ReadBytes('\n')
		var e event
		if json.Unmarshal(text, &e) == nil {
			r.take(e)
		} else {
			fmt.Fprintf(r.out, "%s", text)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (r *report) take(e event) {
	p := r.pkgs[e.Package]
	if p == nil {
		p = &pkg{outcome: map[string]string{}}
		r.pkgs[e.Package] = p
	}
	switch e.Action {
	case "build-output":
		fmt.Fprint(r.out, e.Output)
	case "output":
		p.lines = append(p.lines, line{e.Test, e.Output})
	case "pass", "fail", "skip":
		p.outcome[e.Test] = e.Action
		if e.Test == "" {
			r.print(p)
			delete(r.pkgs, e.Package)
			return
		}
		if r.passed[e.Test] == nil {
			r.passed[e.Test] = map[string]bool{}
		}
		r.passed[e.Test][e.Package] = e.Action == "pass"
		if e.Action == "skip" {
			r.skipped = append(r.skipped, skip{e.Package, e.Test, p.reason(e.Test)})
		}
	}
}

// print prints a package that ended.
func (r *report) print(p *pkg) {
	for _, l := range p.lines {
		if r.verbose || p.shown(l) {
			fmt.Fprint(r.out, l.text)
		}
	}
}

// shown says whether go test without -v shows a line: of a package that passed the
// verdict only, and else all but what tests said that passed or were skipped.
func (p *pkg) shown(l line) bool {
	if p.outcome[""] != "fail" {
		return l.test == "" && (strings.HasPrefix(l.text, "ok ") || strings.HasPrefix(l.text, "? "))
	}
	outcome := p.outcome[l.test]
	return (l.test == "" || outcome == "fail" || outcome == "") && !strings.HasPrefix(l.text, "=== ")
}
