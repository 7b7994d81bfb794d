package initramfs

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
)

// OrderFile is the list, one path a line, of the modules that init loads, in
// that order.
const OrderFile = "/modules/order"

// Spec is what a guest starts with.
type Spec struct {
	// Init is a static program.
	Init string
	// ModuleDir is a kernel's lib/modules/VERSION.
	ModuleDir string
	// Modules are the names of the modules to load; what they need is added,
	// and those built into the kernel are left out.
	Modules []string
}

// Build writes the archive of s. It returns an error wrapping [ErrModule] if
// the kernel lacks a module.
func Build(ctx context.Context, w io.Writer, s Spec) error {
	deps, err := readDependencies(os.DirFS(s.ModuleDir))
	if err != nil {
		return fmt.Errorf("read the kernel's list of modules: %w", err)
	}
	files, err := deps.order(s.Modules...)
	if err != nil {
		return err
	}
	program, err := os.ReadFile(s.Init)
	if err != nil {
		return err
	}
	a := &archive{w: w}
	a.add(entry{name: "init", mode: modeProg, data: program})
	a.add(entry{name: "modules", mode: modeDir})
	var order strings.Builder
	for _, file := range files {
		data, err := unpack(ctx, filepath.Join(s.ModuleDir, file))
		if err != nil {
			return err
		}
		name := "modules/" + moduleName(file) + ".ko"
		a.add(entry{name: name, mode: modeFile, data: data})
		order.WriteString("/" + name + "\n")
	}
	a.add(entry{name: OrderFile[1:], mode: modeFile, data: []byte(order.String())})
	return a.close()
}

// unpack reads a module, which a guest would unpack more slowly.
func unpack(ctx context.Context, file string) ([]byte, error) {
	tools := map[string]string{".xz": "xz", ".zst": "zstd", ".gz": "gzip"}
	tool, packed := tools[path.Ext(file)]
	if !packed {
		return os.ReadFile(file)
	}
	data, err := exec.CommandContext(ctx, tool, "-dcq", file).Output()
	if err != nil {
		return nil, fmt.Errorf("%s of %s: %w", tool, file, err)
	}
	return data, nil
}
