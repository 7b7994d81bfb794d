package kernel

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// download asks apt for the packages that linux-image-amd64 stands for today, and
// returns the files: the image, then what modules are built with. All of apt's
// state is below dir.
func download(ctx context.Context, dir string) ([]string, error) {
	_, suite, err := thisDebian()
	if err != nil {
		return nil, err
	}
	a, err := newApt(ctx, dir, suite)
	if err != nil {
		return nil, err
	}
	image, err := a.depends(ctx, "linux-image-amd64", "linux-image-")
	if err != nil {
		return nil, err
	}
	headers := strings.Replace(image[0], "linux-image-", "linux-headers-", 1)
	needs, err := a.depends(ctx, headers, "linux-headers-", "linux-kbuild-")
	if err != nil {
		return nil, err
	}
	names := append([]string{image[0], headers}, needs...)
	if _, err := a.run(ctx, "apt-get", append([]string{"-q", "download"}, names...)...); err != nil {
		return nil, err
	}
	return downloaded(dir, names)
}

// downloaded are the files of packages.
func downloaded(dir string, names []string) ([]string, error) {
	var files []string
	for _, name := range names {
		found, err := filepath.Glob(filepath.Join(dir, name+"_*.deb"))
		if err != nil || len(found) != 1 {
			return nil, fmt.Errorf("%w: apt left %d files of %s", errPackage, len(found), name)
		}
		files = append(files, found[0])
	}
	return files, nil
}

// depends are the packages with one of the prefixes that a package depends on.
func (a apt) depends(ctx context.Context, name string, prefixes ...string) ([]string, error) {
	said, err := a.run(ctx, "apt-cache", "depends", "--important", name)
	if err != nil {
		return nil, err
	}
	found := dependencies(said, prefixes)
	if len(found) == 0 {
		return nil, fmt.Errorf("%w: %s depends on no %v", errPackage, name, prefixes)
	}
	return found, nil
}

// dependencies finds packages in what apt-cache says that another depends on.
func dependencies(said string, prefixes []string) []string {
	var found []string
	for line := range strings.Lines(said) {
		name, ok := strings.CutPrefix(strings.TrimSpace(line), "Depends: ")
		if ok && slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(name, p) }) {
			found = append(found, name)
		}
	}
	return found
}

// apt is a private apt: its state, cache and sources are its own.
type apt struct {
	dir     string
	options []string
}

// newApt returns an apt, in a new directory, that knows what there is of suites.
func newApt(ctx context.Context, dir string, suites ...string) (apt, error) {
	if err := os.RemoveAll(dir); err != nil {
		return apt{}, err
	}
	for _, d := range []string{"state/lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return apt{}, err
		}
	}
	from, err := machineSource(suites)
	if err != nil {
		return apt{}, err
	}
	list := filepath.Join(dir, "lab.sources")
	if err := os.WriteFile(list, []byte(from.String()), 0o644); err != nil {
		return apt{}, err
	}
	a := apt{dir, []string{
		"-o", "APT::Architecture=amd64",
		"-o", "APT::Sandbox::User=root", // the cache may be root's alone
		"-o", "Dir::State=" + filepath.Join(dir, "state"),
		"-o", "Dir::State::status=/dev/null",
		"-o", "Dir::Cache=" + filepath.Join(dir, "cache"),
		"-o", "Dir::Etc::sourcelist=" + list,
		"-o", "Dir::Etc::sourceparts=/dev/null",
	}}
	_, err = a.run(ctx, "apt-get", "-q", "update")
	return a, err
}

func (a apt) run(ctx context.Context, program string, args ...string) (string, error) {
	return output(ctx, a.dir, program, append(a.options, args...)...)
}

// machineSource is where the machine's own packages come from, as a source of
// other suites.
func machineSource(suites []string) (source, error) {
	release, _, err := thisDebian()
	if err != nil {
		return source{}, err
	}
	var all []source
	for _, place := range []struct {
		pattern string
		parse   func(string) []source
	}{
		{"/etc/apt/sources.list", parseList},
		{"/etc/apt/sources.list.d/*.list", parseList},
		{"/etc/apt/sources.list.d/*.sources", parseDeb822},
	} {
		files, err := filepath.Glob(place.pattern)
		if err != nil {
			return source{}, err
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				return source{}, err
			}
			all = append(all, place.parse(string(text))...)
		}
	}
	return forSuites(all, release, suites)
}

// output runs a program and returns what it wrote to stdout.
func output(ctx context.Context, dir, program string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = dir
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", program, err, strings.TrimSpace(stderr.String()))
	}
	return string(out), nil
}
