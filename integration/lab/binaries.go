package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
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
		if err := goTool(ctx, nil, "build", "-o", filepath.Join(l.dir, "hbmfs"), "hbmfs/cmd/hbmfs"); err != nil {
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
			if err := goTool(ctx, nil, "test", "-c", "-o", file, pkg.ImportPath); err != nil {
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
type listed struct {
	Dir, ImportPath           string
	TestGoFiles, XTestGoFiles []string
}

// testedPackages are those of the patterns that have tests. A pattern that
// names nothing is an error.
func testedPackages(ctx context.Context, patterns []string) ([]listed, error) {
	args := append([]string{"list", "-json=Dir,ImportPath,TestGoFiles,XTestGoFiles"}, patterns...)
	cmd := exec.CommandContext(ctx, "go", args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w\n%s", err, stderr.String())
	}
	var found []listed
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("go list: %w", err)
		}
		if len(p.TestGoFiles)+len(p.XTestGoFiles) > 0 {
			found = append(found, p)
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("no tests in %v: %s", patterns, strings.TrimSpace(stderr.String()))
	}
	return found, nil
}

// moduleRoot makes the module's root the current directory: the parts' packages
// are named from there.
func moduleRoot() error {
	dir, err := moduleDir()
	if err != nil {
		return err
	}
	return os.Chdir(dir)
}

func moduleDir() (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "hbmfs").Output()
	if err != nil {
		return "", fmt.Errorf("find the module: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}
