package initramfs

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// ErrModule says that the kernel neither has a module nor contains it.
var ErrModule = errors.New("no such kernel module")

// dependencies is a kernel's modules.dep and modules.builtin.
type dependencies struct {
	files   map[string]string   // name → path below the kernel's module directory
	needs   map[string][]string // name → names, the last of them first to load
	builtin map[string]bool
}

// readDependencies reads the tables of the module directory of a kernel.
func readDependencies(dir fs.FS) (dependencies, error) {
	dep, err := fs.ReadFile(dir, "modules.dep")
	if err != nil {
		return dependencies{}, err
	}
	builtin, err := fs.ReadFile(dir, "modules.builtin")
	if err != nil {
		return dependencies{}, err
	}
	return parseDependencies(string(dep), string(builtin)), nil
}

// parseDependencies parses lines "path: path path" and lines "path".
func parseDependencies(dep, builtin string) dependencies {
	d := dependencies{files: map[string]string{}, needs: map[string][]string{}, builtin: map[string]bool{}}
	for line := range strings.Lines(dep) {
		file, needs, ok := strings.Cut(strings.TrimSpace(line), ":")
		if !ok {
			continue
		}
		name := moduleName(file)
		d.files[name] = file
		for _, need := range strings.Fields(needs) {
			d.needs[name] = append(d.needs[name], moduleName(need))
		}
	}
	for line := range strings.Lines(builtin) {
		d.builtin[moduleName(strings.TrimSpace(line))] = true
	}
	return d
}

// moduleName is the kernel's name of a module file: "a-b.ko.xz" is a_b.
func moduleName(file string) string {
	name, _, _ := strings.Cut(path.Base(file), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}

// order returns the files to load for the modules wanted, each after what it
// needs and once. It returns an error wrapping [ErrModule].
func (d dependencies) order(wanted ...string) ([]string, error) {
	var files []string
	for _, name := range wanted {
		file, ok := d.files[name]
		if !ok {
			if d.builtin[name] {
				continue
			}
			return nil, fmt.Errorf("%w: %s", ErrModule, name)
		}
		// modules.dep lists all of a module's needs, the nearest first.
		for _, need := range slices.Backward(d.needs[name]) {
			files = appendOnce(files, d.files[need])
		}
		files = appendOnce(files, file)
	}
	return files, nil
}

func appendOnce(list []string, s string) []string {
	if slices.Contains(list, s) {
		return list
	}
	return append(list, s)
}
