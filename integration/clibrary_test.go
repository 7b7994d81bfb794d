package integration

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// cLibrary is where the C library is.
const cLibrary = "../fs/client/c"

// compileWithLibrary builds a program that uses the C library, with what the compiler
// takes as args.
func compileWithLibrary(t *testing.T, source string, args ...string) string {
	t.Helper()
	needC(t, args...)
	return buildC(t, append(args, "-std=c11", "-I", cLibrary, source, filepath.Join(cLibrary, "hbmfs_client.c"))...)
}

func compileExample(t *testing.T, name string, args ...string) string {
	t.Helper()
	return compileWithLibrary(t, filepath.Join(cLibrary, "examples", name), args...)
}

// TestCLibrary has the examples of the C library, as 64- and 32-bit programs, write files
// of a mount out of device memory.
func TestCLibrary(t *testing.T) {
	for name, args := range map[string][]string{"64": nil, "32": {"-m32"}} {
		t.Run(name, func(t *testing.T) {
			r := startRig(t, "--pool", "64MiB")
			big, names := r.writeExamples()
			for _, example := range []string{"fetch.c", "into.c", "ring.c"} {
				mustPrint(t, compileExample(t, example, args...), []string{big.path}, big)
			}
			mustPrint(t, compileExample(t, "batch.c", args...), append([]string{r.dir}, names...), r.smallExamples()...)
			r.nothingLeased()
		})
	}
}

// TestCLibraryHandles runs a program that tests what the C library promises beside bytes.
func TestCLibraryHandles(t *testing.T) {
	for name, args := range map[string][]string{"64": nil, "32": {"-m32"}} {
		t.Run(name, func(t *testing.T) {
			program := compileWithLibrary(t, "testdata/clibrary.c", args...)
			r := startRig(t, "--pool", "16MiB")
			file := r.write("large", 1, 80<<20)
			_, names := r.writeExamples()
			mustPrint(t, program, append([]string{file, r.dir}, names[1:20]...))
			r.nothingLeased()
		})
	}
}

// TestCLibraryDaemonKilled: who waits on a ring is told that the daemon has ended.
func TestCLibraryDaemonKilled(t *testing.T) {
	program := compileWithLibrary(t, "testdata/clibrary.c")
	r := startRig(t)
	p := start(t, exec.Command(program, r.write("1", 1, extent)))
	p.line("waiting")
	r.kill(syscall.SIGKILL)
	within(t, 20*time.Second, "the end of who waits", func() { <-p.done })
	if p.err != nil {
		t.Error(p.err)
	}
}

// printed is a tagged file that a program is to write to its standard output.
type printed struct {
	path   string
	number int
	size   int64
}

const smallFiles = 250 // which two calls take

// smallExamples are files below a, each of another size.
func (r *rig) smallExamples() (all []printed) {
	for i := range smallFiles {
		all = append(all, printed{r.path(fmt.Sprintf("a/%04d", i)), i, int64(1 + 500*i)})
	}
	return all
}

func (r *rig) writeExamples() (big printed, names []string) {
	r.t.Helper()
	big = printed{r.write("big", 1000, 9<<20+12345), 1000, 9<<20 + 12345}
	must(r.t, os.Mkdir(filepath.Join(r.src, "a"), 0o755))
	for _, p := range r.smallExamples() {
		name := "a/" + filepath.Base(p.path)
		r.write(name, p.number, p.size)
		names = append(names, name)
	}
	return big, names
}

// mustPrint fails the test if the program does not write what the files hold, one after
// the other.
func mustPrint(t *testing.T, program string, args []string, files ...printed) {
	t.Helper()
	var stderr bytes.Buffer
	cmd := exec.Command(program, args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v: %s", args[:1], err, stderr.String())
	}
	for _, f := range files {
		if int64(len(out)) < f.size {
			t.Fatalf("%d bytes less than %s has", f.size-int64(len(out)), f.path)
		}
		checkTagged(t, out[:f.size], f.number, 1, 0)
		out = out[f.size:]
	}
	if len(out) > 0 {
		t.Errorf("%d bytes too many", len(out))
	}
}
