package packages

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// patience bounds a run of apt-get, which may wait for a network or a lock.
const patience = 10 * time.Minute

// Why nothing can be installed.
var (
	ErrNotRoot = errors.New("only root can install packages")
	ErrNoApt   = errors.New("no apt-get here")
)

// Install installs packages with apt-get, as root on Debian or what derives from it.
// It tells w what; what apt-get says goes into the error.
func Install(ctx context.Context, w io.Writer, names []string) error {
	if _, err := exec.LookPath("apt-get"); err != nil {
		return ErrNoApt
	}
	if os.Geteuid() != 0 {
		return ErrNotRoot
	}
	fmt.Fprintln(w, "installing:", strings.Join(names, " "))
	ctx, stop := context.WithTimeout(ctx, patience)
	defer stop()
	outdated := apt(ctx, "update") // if for another source, it does not matter
	if err := apt(ctx, append([]string{"install", "-y", "--no-install-recommends"}, names...)...); err != nil {
		return errors.Join(outdated, err)
	}
	return nil
}

func apt(ctx context.Context, args ...string) error {
	options := []string{"-qq", "-o", "Acquire::Retries=1", "-o", "Acquire::http::Timeout=20", "-o", "DPkg::Lock::Timeout=60"}
	cmd := exec.CommandContext(ctx, "apt-get", append(options, args...)...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	out, err := cmd.CombinedOutput()
	if err == nil {
		return nil
	}
	return fmt.Errorf("apt-get %s: %w: %s", args[0], err, lastLine(string(out)))
}

func lastLine(text string) string {
	text = strings.TrimSpace(text)
	return text[strings.LastIndexByte(text, '\n')+1:]
}
