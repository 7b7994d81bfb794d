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

const module = "hbmfs/"

// direction says which of the module's packages each package may import, tests
// aside: cmd → fs → {cache, remote} → transport. "x/..." means x and all below
// it. A package that is not listed fails the test: it must be given its place.
var direction = map[string][]string{
	"transport":                        {},
	"transport/internal/landing":       {"transport"},
	"transport/internal/lanes":         {"transport", "transport/internal/landing"},
	"transport/internal/serving":       {"transport", "transport/internal/frame", "transport/internal/landing", "transport/internal/status"},
	"transport/internal/status":        {"transport"},
	"transport/internal/frame":         {"transport", "transport/internal/landing", "transport/internal/status"},
	"transport/devmemtcp":              {"transport", "transport/internal/...", "transport/devmemtcp/internal/..."},
	"transport/devmemtcp/internal/nic": {},
	"transport/inproc":                 {"transport", "transport/internal/..."},
	"transport/tcp":                    {"transport", "transport/internal/..."},
	"transport/rdma":                   {"transport", "transport/internal/...", "transport/rdma/internal/..."},
	"transport/rdma/internal/verbs":    {},
	"transport/transporttest":          {"transport", "transport/internal/..."},
	"remote/wire":                      {},
	"remote/target":                    {"remote/wire", "transport/..."},
	"remote":                           {"remote/wire", "transport/..."},
	"cache/device":                     {"transport"},
	"cache":                            {"cache/device", "transport"},
	"fs/uapi":                          {},
	"fs/client":                        {"fs/uapi", "transport"},
	"fs":                               {"cache/...", "fs/uapi", "remote", "transport"},
	"cmd/hbmfs":                        {"cache/...", "fs/...", "remote/...", "transport/..."},
	"integration/lab":                  {"integration/lab/..."},
	"integration/lab/agent":            {},
	"integration/lab/guest":            {"integration/lab/agent"},
	"integration/lab/init":             {"integration/lab/agent", "integration/lab/initramfs"},
	"integration/lab/initramfs":        {},
	"integration/lab/kernel":           {},
	"integration/run":                  {"fs/client", "fs/uapi", "transport"},
	"integration/peers":                {"cache/...", "fs/...", "remote/...", "transport/..."},
}

// soleImporters says which packages may import what others must not, tests
// aside: the FUSE library, the kernel's raw interface, and what steps around
// the type system.
var soleImporters = map[string][]string{
	"github.com/hanwen/go-fuse": {
		"fs",
		"integration/peers", // a mount that does nothing, to measure beside
	},
	"golang.org/x/sys/unix": {
		"cache/device",
		"cmd/hbmfs",
		"fs",
		"fs/client",
		"integration/lab/init",
		"integration/run",
		"remote/target",
		"transport/devmemtcp",
		"transport/devmemtcp/internal/nic",
		"transport/internal/landing",
		"transport/rdma/internal/verbs",
		"transport/tcp",
	},
	"unsafe": {
		"cache/device",
		"fs/client",
		"fs/uapi",
		"integration/peers",
		"remote/wire", // generated
		"transport/devmemtcp",
		"transport/devmemtcp/internal/nic",
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
			if ok && !covered(own, allowed) {
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
