package kernel

import (
	"errors"
	"reflect"
	"slices"
	"testing"
)

func TestParseDeb822(t *testing.T) {
	const text = `# the main one
Types: deb deb-src
URIs: http://mirror.test/debian
Suites: bookworm
 bookworm-updates
Components: main contrib
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc

Types: deb-src
URIs: http://mirror.test/source
Suites: bookworm
Components: main

Enabled: no
Types: deb
URIs: http://mirror.test/off
Suites: bookworm
Components: main
`
	want := []source{{
		uris: []string{"http://mirror.test/debian"}, suites: []string{"bookworm", "bookworm-updates"},
		components: []string{"main", "contrib"}, signedBy: "\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc",
	}}
	if got := parseDeb822(text); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestParseList(t *testing.T) {
	const text = `# deb http://mirror.test/off bookworm main
deb-src http://mirror.test/source bookworm main
deb [arch=amd64 signed-by=/k.gpg] http://mirror.test/debian bookworm main contrib # ours
deb http://mirror.test/short bookworm
`
	want := []source{{
		uris: []string{"http://mirror.test/debian"}, suites: []string{"bookworm"},
		components: []string{"main", "contrib"}, signedBy: "/k.gpg",
	}}
	if got := parseList(text); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestForSuite(t *testing.T) {
	all := parseList("deb http://a.test nodistro main\ndeb [signed-by=/k] http://b.test bookworm contrib main\n")
	got, err := forSuites(all, "bookworm", []string{"bookworm-backports"})
	const want = "Types: deb\nURIs: http://b.test\nSuites: bookworm-backports\nComponents: main\nSigned-By: /k\n"
	if err != nil || got.String() != want {
		t.Errorf("%q, %v; want %q", got, err, want)
	}
	if _, err := forSuites(all, "trixie", []string{"trixie"}); !errors.Is(err, errSource) {
		t.Errorf("a release that has no source: %v", err)
	}
}

func TestSuiteOf(t *testing.T) {
	for _, c := range []struct{ osRelease, release, suite string }{
		{"ID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\n", "bookworm", "bookworm-backports"},
		{"ID=debian\nVERSION_ID=\"13\"\nVERSION_CODENAME=trixie\n", "trixie", "trixie"},
		{"ID=debian\nVERSION_CODENAME=forky\n", "forky", "forky"},
		{"ID=other\nVERSION_CODENAME=x\n", "", ""},
		{"", "", ""},
	} {
		release, suite, err := suiteOf(c.osRelease)
		if release != c.release && err == nil || suite != c.suite || (err != nil) != (c.suite == "") {
			t.Errorf("%q: %q %q %v", c.osRelease, release, suite, err)
		}
	}
}

func TestDependencies(t *testing.T) {
	const said = `linux-headers-6.12.95+deb12-amd64
  Depends: linux-base
  Depends: linux-headers-6.12.95+deb12-common
 |Depends: linux-image-6.12.95+deb12-amd64
  Depends: linux-kbuild-6.12.95+deb12
  Depends: <gcc-12>
`
	want := []string{"linux-headers-6.12.95+deb12-common", "linux-kbuild-6.12.95+deb12"}
	if got := dependencies(said, []string{"linux-headers-", "linux-kbuild-"}); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if got := dependencies("linux-image-amd64\n", []string{"linux-image-"}); got != nil {
		t.Errorf("of nothing: %q", got)
	}
}

// FuzzSources: no text makes the parsers fail otherwise than by finding nothing.
func FuzzSources(f *testing.F) {
	f.Add("Types: deb\nURIs: http://a.test\nSuites: x\nComponents: main\nSigned-By: /k\n")
	f.Add("deb [signed-by=/k] http://a.test x main\n")
	f.Add(" :\n: \n deb [\n")
	f.Fuzz(func(t *testing.T, text string) {
		for _, s := range append(parseDeb822(text), parseList(text)...) {
			if _, err := forSuites([]source{s}, "x", []string{"x-backports"}); err != nil && !errors.Is(err, errSource) {
				t.Error(err)
			}
		}
	})
}
