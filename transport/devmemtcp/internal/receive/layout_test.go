package receive

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"
)

// uapiEnv names the directory of a kernel's headers for programs, as its source
// has them: where the compiler's own are too old (make lab T=devmem).
const uapiEnv = "HBMFS_UAPI"

// kernelHeaders puts linux/uio.h of that kernel before the compiler's own.
func kernelHeaders(t *testing.T) (flags []string) {
	t.Helper()
	uapi := os.Getenv(uapiEnv)
	if uapi == "" {
		return nil
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "linux"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(uapi, "linux", "uio.h"), filepath.Join(dir, "linux", "uio.h")); err != nil {
		t.Fatal(err)
	}
	// What is left out when a kernel's headers are installed.
	if err := os.WriteFile(filepath.Join(dir, "linux", "compiler.h"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return []string{"-I", dir, "-D__user="}
}

// TestLayout compares what this package knows of linux/uio.h with a C compiler's
// view of it.
func TestLayout(t *testing.T) {
	cc, err := exec.LookPath("cc")
	if err != nil {
		unsupported(t, "no C compiler: packages gcc and libc6-dev")
	}
	const program = `#include <stddef.h>
#include <stdio.h>
#include <linux/uio.h>
#define O(f) (int)offsetof(struct dmabuf_cmsg, f)
int main(void) {
	printf("%d %d %d %d %d %d %d %d\n", (int)sizeof(struct dmabuf_cmsg), O(frag_offset), O(frag_size), O(frag_token),
	       O(dmabuf_id), (int)sizeof(struct dmabuf_token), (int)offsetof(struct dmabuf_token, token_start),
	       (int)offsetof(struct dmabuf_token, token_count));
}
`
	dir := t.TempDir()
	source, bin := filepath.Join(dir, "layout.c"), filepath.Join(dir, "layout")
	if err := os.WriteFile(source, []byte(program), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(cc, append(kernelHeaders(t), "-o", bin, source)...).CombinedOutput(); err != nil {
		if strings.Contains(string(out), "dmabuf_cmsg") {
			unsupported(t, "linux/uio.h here is older than device memory TCP (package linux-libc-dev 6.12; make lab has it)")
		}
		t.Fatalf("%v: %s", err, out)
	}
	out, err := exec.Command(bin).Output()
	if err != nil {
		t.Fatal(err)
	}
	var r TokenRange
	want := fmt.Sprintln(dmabufCmsgSize, 0, 8, 12, 16, unsafe.Sizeof(r), unsafe.Offsetof(r.Start), unsafe.Offsetof(r.Count))
	if string(out) != want {
		t.Errorf("the compiler says %sthis package %s", out, want)
	}
}
