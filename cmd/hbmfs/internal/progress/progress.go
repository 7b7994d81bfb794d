// Package progress shows on a terminal how far a command is, and leaves nothing there.
// It holds no lock.
package progress

import (
	"os"
	"path/filepath"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"hbmfs/transport/printable"
)

// maxName is how much of a file's name a line has room for, in bytes.
const maxName = 30

// Bar is that of one file. The zero value shows nothing.
type Bar struct{ bar *progressbar.ProgressBar }

// New is for size bytes of a file. It shows nothing if out is no terminal.
func New(out *os.File, name string, size int64) Bar {
	if !term.IsTerminal(int(out.Fd())) {
		return Bar{}
	}
	return Bar{progressbar.NewOptions64(size,
		progressbar.OptionSetWriter(out),
		progressbar.OptionSetDescription(printable.Line(filepath.Base(name), maxName)),
		progressbar.OptionSetWidth(20),
		progressbar.OptionShowBytes(true),
		progressbar.OptionShowCount(),
		progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionClearOnFinish(),
	)}
}

// Add counts n bytes more. What can't be drawn is no failure.
func (p Bar) Add(n int64) {
	if p.bar != nil {
		_ = p.bar.Add64(n)
	}
}

// Finish takes the bar away.
func (p Bar) Finish() {
	if p.bar != nil {
		_ = p.bar.Finish()
	}
}
