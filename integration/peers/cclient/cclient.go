// Package cclient measures the C client: it builds fs/client/c/examples/bench.c and runs
// it, for `make bench`.
//
// It owns the program that [Build] makes, in a directory of the caller's, and holds no
// lock.
package cclient

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Compiler is what [Build] needs.
const Compiler = "gcc"

// errCold says that a range was to be in device memory, and was not.
var errCold = errors.New("not resident")

// Rates are operations a second on ranges of 4 KiB that are in device memory.
type Rates struct {
	Ioctl  float64 // FETCH that releases the one before
	Single float64 // by a ring, one under way
	Deep   float64 // by a ring, 64 under way
}

// Build makes the program in dir, and returns its path.
func Build(ctx context.Context, dir string) (string, error) {
	where, err := output(ctx, "go", "list", "-f", "{{.Dir}}", "hbmfs/fs/client")
	if err != nil {
		return "", err
	}
	abi, library := filepath.Join(filepath.Dir(where), "uapi"), filepath.Join(where, "c")
	program := filepath.Join(dir, "cclient")
	_, err = output(ctx, Compiler, "-O2", "-std=c11", "-I", library, "-I", abi, "-o", program,
		filepath.Join(library, "examples", "bench.c"), filepath.Join(library, "hbmfs_client.c"))
	return program, err
}

// Run fetches ranges of a file of a mount by each way for so long.
func Run(ctx context.Context, program, file string, each time.Duration) (r Rates, err error) {
	out, err := output(ctx, program, file, fmt.Sprint(each.Seconds()))
	if err != nil {
		return r, err
	}
	return parse(out)
}

// parse reads the program's lines: a name, operations, operations a second, misses.
func parse(out string) (r Rates, err error) {
	for name, to := range map[string]*float64{"ioctl": &r.Ioctl, "depth 1": &r.Single, "depth 64": &r.Deep} {
		var done, misses int64
		i := strings.Index("\n"+out, "\n"+name+" ")
		if i < 0 {
			return Rates{}, fmt.Errorf("no line %q in %q", name, out)
		}
		if _, err := fmt.Sscanf(out[i+len(name):], "%d %f /s %d misses", &done, to, &misses); err != nil {
			return Rates{}, fmt.Errorf("line %q of %q: %w", name, out, err)
		}
		if misses > 0 || done == 0 {
			return Rates{}, fmt.Errorf("%w: %s: %d of %d", errCold, name, misses, done)
		}
	}
	return r, nil
}

// output runs a program to its end and returns what it printed.
func output(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, bytes.TrimSpace(errs.Bytes()))
	}
	return strings.TrimSpace(string(out)), nil
}
