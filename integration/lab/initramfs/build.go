// Package initramfs builds the first file system of a guest: an init program
// and the kernel modules it loads. It leaves the order of the modules to
// modprobe(8) and the archive's format to cpio(1), and never touches anything
// outside what it is given.
//
// Nothing here is shared between goroutines.
package initramfs

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
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

// Build writes the archive of s.
func Build(ctx context.Context, w io.Writer, s Spec) error {
	modules, err := moduleFiles(ctx, s)
	if err != nil {
		return err
	}
	return archive(ctx, w, s.Init, modules)
}

// archive writes an archive of a program and modules, which are loaded in this
// order.
func archive(ctx context.Context, w io.Writer, init string, modules []string) error {
	dir, err := os.MkdirTemp("", "hbmfs-initramfs-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	program, err := os.ReadFile(init)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "init"), program, 0o755); err != nil {
		return err
	}
	if err := os.Mkdir(filepath.Join(dir, "modules"), 0o755); err != nil {
		return err
	}
	var order string
	for _, file := range modules {
		name, _, _ := strings.Cut(filepath.Base(file), ".ko")
		name = "/modules/" + name + ".ko"
		data, err := unpack(ctx, file)
		if err != nil {
			return err
		}
		if err := os.WriteFile(dir+name, data, 0o644); err != nil {
			return err
		}
		order += name + "\n"
	}
	if err := os.WriteFile(dir+OrderFile, []byte(order), 0o644); err != nil {
		return err
	}
	return pack(ctx, w, dir, "init\nmodules\n"+strings.ReplaceAll(order, "/modules/", "modules/")+OrderFile[1:]+"\n")
}

// pack writes files of a directory, one a line, in the order that they are named.
func pack(ctx context.Context, w io.Writer, dir, names string) error {
	cmd := exec.CommandContext(ctx, "cpio", "--quiet", "--create", "--format=newc", "--owner=0:0")
	cmd.Dir, cmd.Stdin, cmd.Stdout = dir, strings.NewReader(names), w
	var said strings.Builder
	cmd.Stderr = &said
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("cpio: %w: %s", err, &said)
	}
	return nil
}

// moduleFiles are the files to load, each after what it needs and once.
func moduleFiles(ctx context.Context, s Spec) ([]string, error) {
	root := filepath.Join(s.ModuleDir, "../../..")
	args := []string{"--config", "/dev/null", "--dirname", root, "--set-version", filepath.Base(s.ModuleDir), "--show-depends", "--all"}
	cmd := exec.CommandContext(ctx, "modprobe", append(args, s.Modules...)...)
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("modprobe: %w: %s", err, &said)
	}
	return parseDepends(string(out)), nil
}

// parseDepends reads lines "insmod FILE" and "builtin NAME".
func parseDepends(said string) (files []string) {
	for line := range strings.Lines(said) {
		file, ok := strings.CutPrefix(strings.TrimSpace(line), "insmod ")
		if ok && !slices.Contains(files, file) {
			files = append(files, file)
		}
	}
	return files
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
