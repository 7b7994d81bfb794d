package main

import (
	"fmt"
	"os"
	"sync/atomic"
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
	done  atomic.Int64
	bar   *progressbar.ProgressBar // nil without a terminal
	stop  chan struct{}
	ended chan struct{}
}

func newProgress(total int64) *progress {
	p := &progress{total: total, stop: make(chan struct{}), ended: make(chan struct{})}
	if term.IsTerminal(int(os.Stderr.Fd())) {
		p.bar = progressbar.NewOptions64(total, progressbar.OptionShowBytes(true), progressbar.OptionSetDescription("compare"),
			progressbar.OptionSetWriter(os.Stderr), progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish())
	}
	go p.report()
	return p
}

func (p *progress) add(n int) {
	p.done.Add(int64(n))
	if p.bar != nil {
		_ = p.bar.Add(n) // what can't be drawn is no failure
	}
}

func (p *progress) report() {
	defer close(p.ended)
	tick := time.NewTicker(reportInterval)
	defer tick.Stop()
	for {
		select {
		case <-p.stop:
			return
		case <-tick.C:
			if p.bar == nil {
				fmt.Fprintf(os.Stderr, "compared %d of %d MiB\n", p.done.Load()>>20, p.total>>20)
			}
		}
	}
}

func (p *progress) close() {
	close(p.stop)
	<-p.ended
	if p.bar != nil {
		_ = p.bar.Finish()
	}
}
