package warm

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
)

// pace keeps what is brought within a window ahead of who reads it. It knows how
// far that is only by what the reader says.
type pace struct {
	window int64
	wake   chan struct{} // has room for one: read or ended has changed

	mu    sync.Mutex // guards what follows
	read  int64      // lines that the reader has behind it
	ended bool       // it will say no more
	lens  []int64    // bytes of the lines after first that were admitted
	first int64      // lines before lens[0]
	ahead int64      // bytes, the sum of lens
}

func newPace(window int64) *pace { return &pace{window: window, wake: make(chan struct{}, 1)} }

// listen takes from r how many lines were read, a number a line, until its end. The
// error wraps [ErrProgress].
func (p *pace) listen(r io.Reader) error {
	err := readLines(r, ErrProgress, func(_ int64, line string) error {
		if strings.TrimSpace(line) == "" {
			return nil
		}
		n, err := strconv.ParseUint(strings.TrimSpace(line), 10, 63)
		if err != nil {
			return fmt.Errorf("%s is no number of lines", quoted(line))
		}
		p.change(func() { p.advance(int64(n)) })
		return nil
	})
	if err == nil {
		p.end()
	}
	return err
}

func (p *pace) end() { p.change(func() { p.ended = true }) }

func (p *pace) change(what func()) {
	p.mu.Lock()
	what()
	p.mu.Unlock()
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// advance has the reader be past n lines. With mu.
func (p *pace) advance(n int64) {
	p.read = max(p.read, n)
	for len(p.lens) > 0 && p.first < p.read {
		p.ahead -= p.lens[0]
		p.lens, p.first = p.lens[1:], p.first+1
	}
}

// verdict says what becomes of a line.
type verdict int

const (
	bring verdict = iota
	skip          // it has been read already
	stop          // it does not fit, and never will
	wait
)

// admit waits until a line of n bytes may be brought. Lines come in order, and each
// once. One that is larger than the window is brought alone.
func (p *pace) admit(ctx context.Context, line, n int64) (verdict, error) {
	for {
		if v := p.judge(line, n); v != wait {
			return v, nil
		}
		select {
		case <-p.wake:
		case <-ctx.Done():
			return stop, context.Cause(ctx)
		}
	}
}

func (p *pace) judge(line, n int64) verdict {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case line <= p.read:
		return skip
	case n == 0 || p.ahead == 0 || n <= p.window-p.ahead:
		if len(p.lens) == 0 {
			p.first = line - 1
		}
		p.lens = append(p.lens, n)
		p.ahead += n
		return bring
	case p.ended:
		return stop
	}
	return wait
}
