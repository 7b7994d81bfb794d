package initramfs

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const (
	depFile = `kernel/fs/9p/9p.ko.xz: kernel/net/9p/9pnet.ko.xz kernel/fs/netfs/netfs.ko.xz
kernel/net/9p/9pnet.ko.xz: kernel/fs/netfs/netfs.ko.xz
kernel/fs/netfs/netfs.ko.xz:
kernel/sound/snd-pcm.ko:
`
	builtinFile = "kernel/drivers/virtio/virtio_pci.ko\n"
)

func TestOrder(t *testing.T) {
	d := parseDependencies(depFile, builtinFile)
	got, err := d.order("virtio_pci", "9p", "9pnet", "snd_pcm", "9p")
	want := []string{
		"kernel/fs/netfs/netfs.ko.xz", "kernel/net/9p/9pnet.ko.xz", "kernel/fs/9p/9p.ko.xz", "kernel/sound/snd-pcm.ko",
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("order %q, %v; want %q", got, err, want)
	}
	if _, err := d.order("9p", "no_such"); !errors.Is(err, ErrModule) || !strings.Contains(err.Error(), "no_such") {
		t.Errorf("a module that the kernel lacks: %v", err)
	}
}

func TestBuild(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"modules.dep": "a.ko: b.ko\nb.ko:\n", "modules.builtin": "", "a.ko": "module a", "b.ko": "module b", "init": "program",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	if err := Build(t.Context(), &out, Spec{Init: filepath.Join(dir, "init"), ModuleDir: dir, Modules: []string{"a"}}); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"program", "module a", "module b", "/modules/b.ko\n/modules/a.ko\n"} {
		if !bytes.Contains(out.Bytes(), []byte(part)) {
			t.Errorf("no %q in the archive", part)
		}
	}
	err := Build(t.Context(), &out, Spec{Init: filepath.Join(dir, "init"), ModuleDir: dir, Modules: []string{"c"}})
	if !errors.Is(err, ErrModule) {
		t.Errorf("a module that is not there: %v", err)
	}
}
