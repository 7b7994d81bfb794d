package kernel

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
)

// errSource says that no source of packages of a suite is known.
var errSource = errors.New("no apt source")

// source is one of apt's sources of binary packages.
type source struct {
	uris, suites, components []string
	signedBy                 string // a file, fingerprints, or a key in the lines' own form
}

// parseDeb822 parses the sources of a .sources file: stanzas of "Field: value"
// with continuation lines that start with a space.
func parseDeb822(text string) []source {
	var all []source
	var stanza map[string]string
	var last string
	flush := func() {
		if s := fromStanza(stanza); s != nil {
			all = append(all, *s)
		}
		stanza, last = map[string]string{}, ""
	}
	flush()
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		switch {
		case strings.HasPrefix(line, "#"):
		case strings.TrimSpace(line) == "":
			flush()
		case line[0] == ' ' || line[0] == '\t':
			stanza[last] += "\n" + line
		default:
			field, value, _ := strings.Cut(line, ":")
			last = strings.ToLower(strings.TrimSpace(field))
			stanza[last] = strings.TrimSpace(value)
		}
	}
	flush()
	return all
}

func fromStanza(fields map[string]string) *source {
	if !slices.Contains(strings.Fields(fields["types"]), "deb") || strings.EqualFold(fields["enabled"], "no") {
		return nil
	}
	return &source{
		uris:       strings.Fields(fields["uris"]),
		suites:     strings.Fields(fields["suites"]),
		components: strings.Fields(fields["components"]),
		signedBy:   fields["signed-by"],
	}
}

// parseList parses a .list file: lines "deb [option=value ...] URI suite component ...".
func parseList(text string) []source {
	var all []source
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), "deb ")
		if !ok {
			continue
		}
		var options string
		if rest = strings.TrimSpace(rest); strings.HasPrefix(rest, "[") {
			options, rest, _ = strings.Cut(rest[1:], "]")
		}
		fields := strings.Fields(rest)
		if len(fields) < 3 {
			continue
		}
		s := source{uris: fields[:1], suites: fields[1:2], components: fields[2:]}
		for option := range strings.FieldsSeq(options) {
			if file, ok := strings.CutPrefix(option, "signed-by="); ok {
				s.signedBy = file
			}
		}
		all = append(all, s)
	}
	return all
}

// forSuites returns the source of main packages of the machine's release as one of
// the given suites, which have the same place and key.
func forSuites(all []source, release string, suites []string) (source, error) {
	for _, s := range all {
		if slices.Contains(s.suites, release) && slices.Contains(s.components, "main") {
			s.suites, s.components = suites, []string{"main"}
			return s, nil
		}
	}
	return source{}, fmt.Errorf("%w of %s main in /etc/apt: the kernel comes from %s beside it", errSource, release, strings.Join(suites, " and "))
}

// String is the stanza of a .sources file.
func (s source) String() string {
	text := fmt.Sprintf("Types: deb\nURIs: %s\nSuites: %s\nComponents: %s\n",
		strings.Join(s.uris, " "), strings.Join(s.suites, " "), strings.Join(s.components, " "))
	if s.signedBy != "" {
		text += "Signed-By: " + s.signedBy + "\n"
	}
	return text
}

// thisDebian is suiteOf this machine.
func thisDebian() (release, suite string, err error) {
	osRelease, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return "", "", err
	}
	return suiteOf(string(osRelease))
}

// suiteOf picks the suite of a kernel that has all that the lab needs, by
// os-release: Debian 12's own is too old, its backports are not.
func suiteOf(osRelease string) (release, suite string, err error) {
	fields := map[string]string{}
	for line := range strings.Lines(osRelease) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		fields[name] = strings.Trim(value, `"'`)
	}
	release = fields["VERSION_CODENAME"]
	switch {
	case fields["ID"] != "debian" || release == "":
		return "", "", fmt.Errorf("%w of a Debian kernel on %q: the lab runs on Debian 12 or later", errSource, fields["PRETTY_NAME"])
	case fields["VERSION_ID"] == "12":
		return release, release + "-backports", nil
	default:
		return release, release, nil
	}
}
