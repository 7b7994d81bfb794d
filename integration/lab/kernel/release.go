package kernel

import (
	"context"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// releaseSuites have the kernels that a release may be chosen of, and what their
// modules are built with.
var releaseSuites = []string{"trixie", "trixie-backports"}

// buildPackages are what a module is built with, in a root of their own: the
// headers want the compiler and the C library of their Debian.
var buildPackages = []string{
	"base-files", "bash", "binutils", "coreutils", "dash", "diffutils", "findutils", "grep", "make", "mawk", "perl-base", "sed",
}

// downloadRelease is download for the newest kernel of a release; with it come all
// packages that its modules are built with.
func downloadRelease(ctx context.Context, dir, release string) ([]string, error) {
	a, err := newApt(ctx, dir, releaseSuites...)
	if err != nil {
		return nil, err
	}
	pattern := `^linux-image-[0-9]+[.][0-9]+[.][0-9]+[+]deb[0-9]+-amd64$`
	said, err := a.run(ctx, "apt-cache", "--names-only", "search", pattern)
	if err != nil {
		return nil, err
	}
	image, err := newest(said, release)
	if err != nil {
		return nil, err
	}
	// Before 7.2, all is in one package.
	said, err = a.run(ctx, "apt-cache", "depends", "--important", image)
	if err != nil {
		return nil, err
	}
	names := append([]string{image}, dependencies(said, []string{"linux-binary-", "linux-modules-"})...)
	if _, err := a.run(ctx, "apt-get", append([]string{"-q", "download"}, names...)...); err != nil {
		return nil, err
	}
	debs, err := downloaded(dir, names)
	if err != nil {
		return nil, err
	}
	headers := strings.Replace(image, "linux-image-", "linux-headers-", 1)
	install := append([]string{"-q", "-y", "-d", "--no-install-recommends", "install", headers}, buildPackages...)
	if _, err := a.run(ctx, "apt-get", install...); err != nil {
		return nil, err
	}
	more, err := filepath.Glob(filepath.Join(dir, "cache", "archives", "*.deb"))
	return append(more, debs...), err
}

var imageName = regexp.MustCompile(`(?m)^linux-image-(\d+\.\d+)\.(\d+)\S* `)

// newest is the package of a release's newest kernel, of those that apt-cache found.
func newest(said, release string) (string, error) {
	best, image := -1, ""
	var others []string
	for _, m := range imageName.FindAllStringSubmatch(said, -1) {
		if m[1] != release {
			others = append(others, m[1])
			continue
		}
		if n, err := strconv.Atoi(m[2]); err == nil && n > best {
			best, image = n, strings.TrimSpace(m[0])
		}
	}
	if image == "" {
		slices.Sort(others)
		return "", fmt.Errorf("%w: no kernel %s in %s; there are %s", errPackage, release,
			strings.Join(releaseSuites, " and "), strings.Join(slices.Compact(others), ", "))
	}
	return image, nil
}
