// Command install installs the Debian packages that purposes of this project want
// and that are missing here, or says why it can't, and fails:
//
//	go run ./integration/install test check bench lab
//
// It says what it installs. It has no state, and no lock.
package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"hbmfs/integration/packages"
	"hbmfs/integration/process"
)

func main() { process.Main("install", run) }

func run(ctx context.Context, purposes []string) error {
	var use packages.Use
	for _, name := range purposes {
		u, ok := packages.Uses[name]
		if !ok {
			return fmt.Errorf("%q is none of test, check, bench, lab", name)
		}
		use |= u
	}
	missing := packages.Missing(use)
	if len(missing) == 0 {
		return nil
	}
	if err := packages.Install(ctx, os.Stdout, missing); err != nil {
		return fmt.Errorf("not installed: %s: %w", strings.Join(missing, " "), err)
	}
	return nil
}
