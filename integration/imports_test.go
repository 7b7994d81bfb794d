package integration

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	module     = "hbmfs/"
	vocabulary = "fs/uapi"
)

// direction says which of the module's packages each package may import, tests
// aside: cmd → fs → {cache, remote} → transport, and internal below all. All rooms
// may import transport/logging and transport/printable, and those that do name
// them; fs/uapi is the vocabulary below all, and theirs unnamed. "x/..." means x and all below it. A package that is not listed fails the
// test: it must be given its place.
var direction = map[string][]string{
	"transport/printable":                  {},
	"transport/logging":                    {"transport/printable"},
	"transport/probe":                      {},
	"transport/limits":                     {"transport/logging"},
	"transport":                            {"transport/limits"},
	"transport/internal/landing":           {"transport"},
	"transport/internal/lanes":             {"transport", "transport/internal/landing"},
	"transport/internal/liveness":          {},
	"transport/internal/serving":           {"transport", "transport/logging", "transport/internal/frame", "transport/internal/landing", "transport/internal/status", "transport/limits"},
	"transport/internal/status":            {"transport"},
	"transport/internal/frame":             {"transport", "transport/internal/landing", "transport/internal/status", "transport/printable"},
	"transport/devmemtcp":                  {"transport", "transport/internal/...", "transport/devmemtcp/internal/...", "transport/probe", "transport/limits"},
	"transport/devmemtcp/internal/nic":     {},
	"transport/devmemtcp/internal/receive": {"transport", "transport/internal/frame", "transport/internal/landing"},
	"transport/devmemtcp/internal/loans":   {"transport", "transport/internal/...", "transport/devmemtcp/internal/receive"},
	"transport/inproc":                     {"transport", "transport/internal/...", "transport/probe"},
	"transport/tcp":                        {"transport", "transport/internal/...", "transport/probe", "transport/limits"},
	"transport/rdma":                       {"transport", "transport/limits", "transport/internal/...", "transport/rdma/internal/...", "transport/probe"},
	"transport/rdma/internal/verbs":        {},
	"transport/rdma/internal/hca":          {"transport", "transport/rdma/internal/verbs"},
	"transport/rdma/internal/wire":         {"transport", "transport/internal/..."},
	"transport/rdma/internal/target":       {"transport", "transport/limits", "transport/logging", "transport/internal/...", "transport/rdma/internal/..."},
	"transport/modeltest":                  {},
	"transport/transporttest":              {"transport", "transport/internal/...", "transport/limits"},
	"remote/wire":                          {},
	"remote/term":                          {"transport"},
	"remote/namespace":                     {"remote/wire", "transport"},
	"remote/outage":                        {},
	"remote/prefetch":                      {"remote/namespace", "remote/wire", "transport"},
	"remote/links":                         {"transport", "transport/logging"},
	"remote/closing":                       {},
	"remote/control":                       {"remote/wire", "transport", "transport/printable"},
	"remote/session":                       {"remote/control", "remote/links", "remote/namespace", "remote/outage", "remote/term", "remote/wire", "transport"},
	"remote":                               {"remote/closing", "remote/control", "remote/links", "remote/namespace", "remote/outage", "remote/prefetch", "remote/session", "remote/wire", "remote/term", "transport/..."},
	"remote/server":                        {"remote/server/store", "remote/wire", "remote/term", "transport", "transport/logging", "transport/printable", "transport/limits"},
	"remote/server/store":                  {"remote/wire", "transport"},
	"remote/server/store/storetest":        {"remote/server/store", "remote/wire", "transport", "transport/transporttest"},
	"remote/server/store/dir/breaks":       {},
	"remote/server/store/dir":              {"remote/server/store", "remote/server/store/dir/breaks", "remote/wire", "remote/term", "transport", "transport/probe"},
	"cache/device":                         {"transport", "transport/probe"},
	"cache/device/devicetest":              {"cache/device", "transport", "transport/transporttest"},
	"cache/policy":                         {},
	"cache/policy/policysim":               {"cache/policy"},
	"cache/internal/list":                  {},
	"cache/slots":                          {"cache/internal/list", "cache/policy"},
	"cache/index":                          {"cache/internal/list"},
	"cache":                                {"cache/device", "cache/index", "cache/internal/list", "cache/slots", "transport", "transport/limits"},
	"fs/uapi":                              {},
	"fs/beside":                            {},
	"fs/client":                            {},
	"fs/batch":                             {"fs/handles", "cache", "transport/limits"},
	"fs/byname":                            {"fs/creds", "remote/namespace", "transport"},
	"fs/creds":                             {"remote/namespace"},
	"fs/ctl":                               {"fs/beside", "fs/errnos", "fs/mountwatch", "cache", "cache/device", "transport/limits", "transport/logging"},
	"fs/handles":                           {},
	"fs/buffers":                           {"cache", "cache/device", "fs/ctl", "transport", "transport/limits", "transport/logging"},
	"fs/errnos":                            {"cache", "cache/device", "transport", "transport/limits"},
	"fs/fuseprobe":                         {"transport/probe"},
	"fs/lookups":                           {},
	"fs/mountwatch":                        {},
	"fs/readahead":                         {"remote", "transport", "transport/limits"},
	"fs/pins":                              {"cache", "transport"},
	"fs/ring":                              {"fs/creds", "fs/handles", "transport/limits"},
	"fs":                                   {"fs/batch", "fs/beside", "fs/buffers", "fs/byname", "fs/creds", "fs/ctl", "fs/errnos", "fs/handles", "fs/lookups", "fs/mountwatch", "fs/pins", "fs/readahead", "fs/ring", "cache/...", "remote", "remote/namespace", "transport", "transport/logging", "transport/limits"},
	"cmd/hbmfs/internal/mounts":            {"fs", "fs/beside", "transport/printable"},
	"cmd/hbmfs/internal/logfile":           {"transport/printable"},
	"cmd/hbmfs/internal/newfile":           {},
	"cmd/hbmfs/internal/onemount":          {"fs/client"},
	"cmd/hbmfs/internal/pin":               {"cmd/hbmfs/internal/onemount", "cmd/hbmfs/internal/progress", "cmd/hbmfs/internal/size", "cmd/hbmfs/internal/supervise", "cmd/hbmfs/internal/warm", "fs/client"},
	"cmd/hbmfs/internal/progress":          {"transport/printable"},
	"cmd/hbmfs/internal/size":              {},
	"cmd/hbmfs/internal/stream":            {"fs/client"},
	"cmd/hbmfs/internal/supervise":         {},
	"cmd/hbmfs/internal/warm":              {"cmd/hbmfs/internal/stream", "fs/client"},
	"cmd/hbmfs/internal/loader":            {"cmd/hbmfs/internal/stream", "fs/client"},
	"cmd/hbmfs":                            {"cmd/hbmfs/internal/...", "cache/...", "fs/...", "remote/...", "transport/..."},
	"integration/packages":                 {},
	"integration/process":                  {},
	"integration/install":                  {"integration/packages", "integration/process"},
	"integration/suite":                    {},
	"integration/lab":                      {"integration/lab/...", "integration/packages", "integration/process"},
	"integration/lab/agent":                {},
	"integration/lab/guest":                {"integration/lab/agent"},
	"integration/lab/init":                 {"integration/lab/agent", "integration/lab/initramfs"},
	"integration/lab/initramfs":            {},
	"integration/lab/kernel":               {},
	"integration/relay":                    {},
	"integration/chaos":                    {"fs/client", "integration/process", "integration/relay"},
	"integration/run":                      {"fs/client", "integration/process"},
	"integration/peers":                    {"cache/...", "fs/...", "integration/packages", "integration/peers/...", "integration/process", "remote/...", "transport/..."},
	"integration/peers/cclient":            {},
	"integration/peers/load":               {"fs/client", "fs/uapi", "integration/process"},
	"integration/peers/noop":               {"fs/uapi", "integration/peers/load"},
	"integration/peers/past":               {},
	"integration/peers/plot":               {},
	"integration/peers/procfs":             {},
	"integration/peers/tagged":             {},
}

// soleImporters says which packages may import what others must not, tests
// aside: the FUSE library, the kernel's raw interface, and what steps around
// the type system.
var soleImporters = map[string][]string{
	"github.com/hanwen/go-fuse": {
		"fs",
		"integration/peers/noop", // to measure beside
	},
	"golang.org/x/sys/unix": {
		"cache/device",
		"cmd/hbmfs",
		"cmd/hbmfs/internal/loader",
		"cmd/hbmfs/internal/logfile",
		"cmd/hbmfs/internal/mounts",
		"cmd/hbmfs/internal/onemount",
		"cmd/hbmfs/internal/stream",
		"cmd/hbmfs/internal/supervise",
		"cmd/hbmfs/internal/warm",
		"fs",
		"fs/beside",
		"fs/buffers",
		"fs/client",
		"fs/creds",
		"fs/ctl",
		"fs/errnos",
		"fs/fuseprobe",
		"fs/mountwatch",
		"fs/ring",
		"integration/chaos",
		"integration/lab/init",
		"integration/lab/kernel",
		"integration/peers",
		"integration/peers/load",
		"integration/peers/procfs",
		"integration/run",
		"remote/server",
		"remote/server/store/dir",
		"remote/server/store/dir/breaks",
		"remote/term",
		"transport/devmemtcp",
		"transport/devmemtcp/internal/nic",
		"transport/devmemtcp/internal/receive",
		"transport/internal/landing",
		"transport/internal/liveness",
		"transport/rdma/internal/verbs",
		"transport/tcp",
		"transport/transporttest",
	},
	"unsafe": {
		"cache/device",
		"fs/client",
		"fs/creds", // groups of a peer
		"fs/uapi",
		"integration/chaos",
		"integration/peers",
		"integration/peers/load",
		"remote/server/store/dir",        // delegations
		"remote/server/store/dir/breaks", // signals and owners of leases
		"remote/wire",                    // generated
		"transport/devmemtcp/internal/nic",
		"transport/devmemtcp/internal/receive",
		"transport/rdma/internal/verbs",
	},
	"C": {"transport/rdma/internal/verbs"},
}

// listedPackage is what the test needs of go list -json.
type listedPackage struct {
	Dir, ImportPath   string
	GoFiles, CgoFiles []string
	IgnoredGoFiles    []string
}

func (p listedPackage) name() string { return strings.TrimPrefix(p.ImportPath, module) }

// files are the package's own, for all platforms and tags, tests aside.
func (p listedPackage) files() []string {
	all := slices.Concat(p.GoFiles, p.CgoFiles, p.IgnoredGoFiles)
	return slices.DeleteFunc(all, func(f string) bool { return strings.HasSuffix(f, "_test.go") })
}

func TestImportDirection(t *testing.T) {
	for _, p := range listPackages(t) {
		if len(p.files()) == 0 {
			continue
		}
		allowed, known := direction[p.name()]
		if !known {
			t.Errorf("%s is not in the table: say what it may import", p.name())
			continue
		}
		eachImport(t, p, func(file, imported string) {
			own, ok := strings.CutPrefix(imported, module)
			if ok && own != vocabulary && !covered(own, allowed) {
				t.Errorf("%s imports %s; %s may import only %v", file, imported, p.name(), allowed)
			}
		})
	}
}

func TestSoleImporters(t *testing.T) {
	for _, p := range listPackages(t) {
		eachImport(t, p, func(file, imported string) {
			for guarded, importers := range soleImporters {
				if covered(imported, []string{guarded + "/..."}) && !slices.Contains(importers, p.name()) {
					t.Errorf("%s imports %s, which is for %v", file, imported, importers)
				}
			}
		})
	}
}

// TestClientIsLight: what a program gets that imports the Go client, which is no
// transport and no cryptography.
func TestClientIsLight(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "-f", "{{.ImportPath}} {{.Standard}}", module+"fs/client").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var others []string
	for line := range strings.Lines(string(out)) {
		name, standard, _ := strings.Cut(strings.TrimSpace(line), " ")
		if name == "crypto/tls" {
			t.Error("fs/client pulls in crypto/tls")
		}
		if standard != "true" {
			others = append(others, name)
		}
	}
	want := []string{"golang.org/x/sys/unix", module + "fs/uapi", module + "fs/client"}
	if slices.Sort(others); !slices.Equal(others, slices.Sorted(slices.Values(want))) {
		t.Errorf("fs/client pulls in %v, want %v", others, want)
	}
}

// TestCovered shows that the rules refuse what they should.
func TestCovered(t *testing.T) {
	for _, c := range []struct {
		pkg, rule string
		want      bool
	}{
		{"transport", "transport", true},
		{"transport/tcp", "transport", false},
		{"transport/tcp", "transport/...", true},
		{"transport", "transport/...", true},
		{"transporter", "transport/...", false},
		{"cache", "remote/...", false},
	} {
		if got := covered(c.pkg, []string{c.rule}); got != c.want {
			t.Errorf("covered(%q, %q) = %v", c.pkg, c.rule, got)
		}
	}
}

func covered(pkg string, rules []string) bool {
	return slices.ContainsFunc(rules, func(rule string) bool {
		base, tree := strings.CutSuffix(rule, "/...")
		return pkg == base || tree && strings.HasPrefix(pkg, base+"/")
	})
}

func eachImport(t *testing.T, p listedPackage, visit func(file, imported string)) {
	t.Helper()
	for _, name := range p.files() {
		parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, name), nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, spec := range parsed.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			visit(path.Join(p.name(), name), imported)
		}
	}
}

func listPackages(t *testing.T) []listedPackage {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=Dir,ImportPath,GoFiles,CgoFiles,IgnoredGoFiles", module+"...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []listedPackage
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listedPackage
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("go list: %v", err)
		}
		all = append(all, p)
	}
}
