package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
)

// readNames reads names of tests, one a line: a test's, or, of those that several
// packages have, a package and a test's.
func readNames(file string) ([]string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var names []string
	for l := range strings.Lines(string(text)) {
		name, _, _ := strings.Cut(l, "#")
		if fields := strings.Fields(name); len(fields) > 0 {
			names = append(names, strings.Join(fields, " "))
		}
	}
	return names, nil
}

// module begins the import path of each package.
const module = "hbmfs/"

// checkPassed returns an error that names the tests that must pass and did not,
// and those that do not say which of several packages' they are.
func (r *report) checkPassed(must []string) error {
	var missing []string
	var ambiguous error
	for _, name := range must {
		pkg, test, ofPackage := strings.Cut(name, " ")
		if !ofPackage {
			test = name
		}
		in := r.passed[test]
		switch {
		case ofPackage && !in[module+pkg]:
			missing = append(missing, name)
		case !ofPackage && len(in) > 1:
			ambiguous = errors.Join(ambiguous, fmt.Errorf("%s: %w: name it as PACKAGE %s, with a PACKAGE of %s",
				name, errAmbiguous, name, strings.Join(slices.Sorted(maps.Keys(in)), ", ")))
		case !ofPackage && !slices.Contains(slices.Collect(maps.Values(in)), true):
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return errors.Join(fmt.Errorf("%s: %w", strings.Join(missing, ", "), errNotRun), ambiguous)
	}
	return ambiguous
}
