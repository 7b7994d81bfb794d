package main

import (
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// reportInterval is how often progress is printed where there is no terminal.
const reportInterval = 5 * time.Second

// progress shows how far the check is: a bar on a terminal, else a line now and
// then.
type progress struct {
	total int64
	bar   *progressbar.ProgressBar // nil without a terminal

	mu     sync.Mutex // guards what follows
	done   int64
	report time.Time // when the next line is due
}

func newProgress(total int64) *progress {
	p := &progress{total: total, report: time.Now().Add(reportInterval)}
	if term.IsTerminal(int(os.Stderr.Fd())) {
		p.bar = progressbar.NewOptions64(total, progressbar.OptionShowBytes(true), progressbar.OptionSetDescription("compare"),
			progressbar.OptionSetWriter(os.Stderr), progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish())
	}
	return p
}

func (p *progress) add(n int) {
	if p.bar != nil {
		_ = p.bar.Add(n) // what can't be drawn is no failure
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done += int64(n)
	if now := time.Now(); now.After(p.report) {
		p.report = now.Add(reportInterval)
		fmt.Fprintf(os.Stderr, "compared %d of %d MiB\n", p.done>>20, p.total>>20)
	}
}

func (p *progress) close() {
	if p.bar != nil {
		_ = p.bar.Finish()
	}
}
