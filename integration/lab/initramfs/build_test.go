package initramfs

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func require(t *testing.T, tool, pkg string) {
	t.Helper()
	if _, err := exec.LookPath(tool); err != nil {
		t.Skipf("unsupported: no %s: package %s", tool, pkg)
	}
}

func TestArchive(t *testing.T) {
	require(t, "cpio", "cpio")
	dir := t.TempDir()
	for _, name := range []string{"program", "b-c.ko", "a.ko"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("this is "+name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var packed bytes.Buffer
	modules := []string{filepath.Join(dir, "b-c.ko"), filepath.Join(dir, "a.ko")}
	if err := archive(t.Context(), &packed, filepath.Join(dir, "program"), modules); err != nil {
		t.Fatal(err)
	}
	for args, want := range map[string]string{
		"-it":                          "init\nmodules\nmodules/b-c.ko\nmodules/a.ko\nmodules/order\n",
		"-i --to-stdout init":          "this is program",
		"-i --to-stdout modules/a.ko":  "this is a.ko",
		"-i --to-stdout modules/order": "/modules/b-c.ko\n/modules/a.ko\n",
	} {
		cmd := exec.Command("cpio", append([]string{"--quiet"}, strings.Fields(args)...)...)
		cmd.Stdin = bytes.NewReader(packed.Bytes())
		out, err := cmd.Output()
		if err != nil || string(out) != want {
			t.Errorf("cpio %s: %q, %v; want %q", args, out, err, want)
		}
	}
}

func TestParseDepends(t *testing.T) {
	const said = "builtin virtio_pci\ninsmod /k/netfs.ko.xz \ninsmod /k/9p.ko.xz \ninsmod /k/netfs.ko.xz \n"
	if got, want := parseDepends(said), []string{"/k/netfs.ko.xz", "/k/9p.ko.xz"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestBuildWithoutModule(t *testing.T) {
	require(t, "modprobe", "kmod")
	err := Build(t.Context(), new(bytes.Buffer), Spec{ModuleDir: t.TempDir(), Modules: []string{"no_such"}})
	if err == nil || !strings.Contains(err.Error(), "no_such") {
		t.Errorf("a module that is not there: %v", err)
	}
}
