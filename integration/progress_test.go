package integration

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestProgress: read shows on a terminal how far it is, whatever the file is called,
// and nothing where standard error is none.
func TestProgress(t *testing.T) {
	const size = 64 * extent
	src, nasty := t.TempDir(), "big\x1b[2J\u202e"
	must(t, os.WriteFile(filepath.Join(src, nasty), make([]byte, size), 0o644))
	m := startMount(t, src, small(8)...)
	master, slave := openTerminal(t)
	defer master.Close()
	defer slave.Close()
	var stdout bytes.Buffer
	cmd := exec.Command(bin, "read", m.path(nasty))
	cmd.Stdout, cmd.Stderr = &stdout, slave
	must(t, cmd.Run())
	shown := make([]byte, 1<<16)
	n, err := master.Read(shown)
	must(t, err)
	text := string(shown[:n])
	if !strings.Contains(text, `big\x1b[2J\u202e`) || !strings.Contains(text, "%") || strings.ContainsAny(text, "\u202e") || strings.Contains(text, "\x1b[2J") {
		t.Errorf("on the terminal: %q", text)
	}
	if out := stdout.String(); !strings.Contains(out, fmt.Sprint(size)) || strings.ContainsAny(out, "\x1b\r\u202e") {
		t.Errorf("on standard output: %q", out)
	}
	var stderr bytes.Buffer
	cmd = exec.Command(bin, "read", "--json", m.path(nasty))
	cmd.Stderr = &stderr
	must(t, cmd.Run())
	if stderr.Len() > 0 {
		t.Errorf("without a terminal: %q", &stderr)
	}
}
