package initramfs

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"
)

// unsupported skips a test that needs what this machine hasn't got.
func unsupported(t *testing.T, need string) {
	t.Helper()
	t.Skipf("unsupported: %s", need)
}

func sample(t *testing.T) []byte {
	t.Helper()
	var out bytes.Buffer
	a := &archive{w: &out}
	for _, e := range []entry{
		{name: "init", mode: modeProg, data: []byte("12345")},
		{name: "modules", mode: modeDir},
		{name: "modules/order", mode: modeFile, data: []byte("/modules/a.ko\n")},
	} {
		a.add(e)
	}
	if err := a.close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestArchiveBytes(t *testing.T) {
	got := sample(t)
	want := "070701" + "00000001" + "000081ED" + "00000000" + "00000000" + "00000001" + "00000000" +
		"00000005" + "00000000" + "00000000" + "00000000" + "00000000" + "00000005" + "00000000" +
		"init\x00\x00" + "12345\x00\x00\x00" + "070701"
	if !strings.HasPrefix(string(got), want) {
		t.Errorf("the archive starts %q, want %q", got[:len(want)], want)
	}
	if len(got)%4 != 0 || !bytes.Contains(got, []byte(trailer+"\x00")) {
		t.Errorf("%d bytes, ending %q", len(got), got[len(got)-20:])
	}
}

// TestArchiveForOthers shows that cpio(1) reads what is written.
func TestArchiveForOthers(t *testing.T) {
	if _, err := exec.LookPath("cpio"); err != nil {
		unsupported(t, "cpio is not installed")
	}
	for args, want := range map[string]string{
		"-it":                           "init\nmodules\nmodules/order\n",
		"-i --to-stdout init":           "12345",
		"-i --to-stdout modules/order":  "/modules/a.ko\n",
		"-i --to-stdout no/such/member": "",
	} {
		cmd := exec.Command("cpio", append([]string{"--quiet"}, strings.Fields(args)...)...)
		cmd.Stdin = bytes.NewReader(sample(t))
		out, err := cmd.Output()
		if err != nil || string(out) != want {
			t.Errorf("cpio %s: %q, %v; want %q", args, out, err, want)
		}
	}
}
