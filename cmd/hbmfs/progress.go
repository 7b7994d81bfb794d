package main

import (
	"os"
	"path/filepath"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"hbmfs/transport/printable"
)

// progressName is how much of a file's name a line has room for, in bytes.
const progressName = 30

// progress shows on a terminal how far a file is, and leaves nothing there. The
// zero value shows nothing.
type progress struct{ bar *progressbar.ProgressBar }

// newProgress is for size bytes of a file. It shows nothing if out is no terminal.
func newProgress(out *os.File, name string, size int64) progress {
	if !term.IsTerminal(int(out.Fd())) {
		return progress{}
	}
	return progress{progressbar.NewOptions64(size,
		progressbar.OptionSetWriter(out),
		progressbar.OptionSetDescription(printable.Line(filepath.Base(name), progressName)),
		progressbar.OptionSetWidth(20),
		progressbar.OptionShowBytes(true),
		progressbar.OptionShowCount(),
		progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionClearOnFinish(),
	)}
}

// What can't be drawn is no failure.

func (p progress) add(n int64) {
	if p.bar != nil {
		_ = p.bar.Add64(n)
	}
}

func (p progress) finish() {
	if p.bar != nil {
		_ = p.bar.Finish()
	}
}
