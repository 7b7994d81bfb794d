package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
)

// hostRoot is where guests see the host's files, also those that their own
// file systems cover.
const hostRoot = "/host"

// binary is the tests of a package, built on the host.
type binary struct {
	file string // as guests see it
	dir  string // the package's, where its tests expect to run
	name string // of the package
	args []string
}

// build builds the tests of a part. They must all be there before guests boot.
func (l *lab) build(ctx context.Context, p part) ([]binary, error) {
	if p.hbmfs {
		if _, err := goTool(ctx, nil, "build", "-o", filepath.Join(l.dir, "hbmfs"), "hbmfs/cmd/hbmfs"); err != nil {
			return nil, err
		}
	}
	var all []binary
	for _, run := range p.runs {
		packages, err := testedPackages(ctx, run.packages)
		if err != nil {
			return nil, fmt.Errorf("part %s: %w", p.name, err)
		}
		for _, pkg := range packages {
			file := filepath.Join(l.dir, strings.ReplaceAll(pkg.ImportPath, "/", "-")+".test")
			if _, err := goTool(ctx, nil, "test", "-c", "-o", file, pkg.ImportPath); err != nil {
				return nil, err
			}
			b := binary{file: hostRoot + file, dir: pkg.Dir, name: pkg.ImportPath}
			if run.pattern != "" {
				b.args = []string{"-test.run", run.pattern}
			}
			all = append(all, b)
		}
	}
	return all, nil
}

// listed is what go list says of a package.
type listed struct{ ImportPath, Dir string }

// testedPackages are those of the patterns that have tests. A pattern that
// names nothing is an error.
func testedPackages(ctx context.Context, patterns []string) ([]listed, error) {
	const tested = "{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}\t{{.Dir}}{{end}}"
	out, err := goTool(ctx, nil, append([]string{"list", "-f", tested}, patterns...)...)
	if err != nil {
		return nil, err
	}
	var found []listed
	for line := range strings.Lines(out) {
		path, dir, _ := strings.Cut(strings.TrimSpace(line), "\t")
		found = append(found, listed{path, dir})
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("no tests in %v", patterns)
	}
	return found, nil
}

// moduleDir is the module's root: the parts' packages are named from there.
func moduleDir(ctx context.Context) (string, error) {
	out, err := goTool(ctx, nil, "list", "-m", "-f", "{{.Dir}}", "hbmfs")
	return strings.TrimSpace(out), err
}
