package devmemtcp

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"
)

// TestLayout compares what this package knows of linux/uio.h with a C compiler's
// view of it.
func TestLayout(t *testing.T) {
	cc, err := exec.LookPath("cc")
	if err != nil {
		t.Skip("unsupported: no C compiler")
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
	if out, err := exec.Command(cc, "-o", bin, source).CombinedOutput(); err != nil {
		if strings.Contains(string(out), "dmabuf_cmsg") {
			t.Skip("unsupported: linux/uio.h here is older than device memory TCP")
		}
		t.Fatalf("%v: %s", err, out)
	}
	out, err := exec.Command(bin).Output()
	if err != nil {
		t.Fatal(err)
	}
	var r tokenRange
	want := fmt.Sprintln(dmabufCmsgSize, 0, 8, 12, 16, unsafe.Sizeof(r), unsafe.Offsetof(r.start), unsafe.Offsetof(r.count))
	if string(out) != want {
		t.Errorf("the compiler says %sthis package %s", out, want)
	}
}
