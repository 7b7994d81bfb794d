package logging

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestBounded: no value is logged raw or whole, of whatever type it is.
func TestBounded(t *testing.T) {
	long := strings.Repeat("\x1b[2J\u202e\n", 1<<17)
	for what, args := range map[string][]any{
		"string":   {"k", long},
		"error":    {"k", errors.New(long)},
		"Stringer": {"k", &net.UnixAddr{Name: long}},
		"struct":   {"k", struct{ s string }{long}},
		"group":    {slog.Group("g", "k", long)},
	} {
		var out bytes.Buffer
		New(&out).Warn(long, args...)
		line := out.String()
		if len(line) > 64<<10 || strings.Count(line, "\n") != 1 || !strings.Contains(line, " bytes)") {
			t.Errorf("%s: %d bytes in %d lines", what, len(line), strings.Count(line, "\n"))
		}
		if strings.ContainsAny(line, "\x1b\u202e") {
			t.Errorf("%s: raw control characters", what)
		}
	}
	var out bytes.Buffer
	New(&out).Info("plain", "n", 7, "err", errors.New("no such file"), "after", time.Second)
	if !strings.HasSuffix(out.String(), `level=INFO msg=plain n=7 err="no such file" after=1s`+"\n") {
		t.Errorf("plain values became %s", &out)
	}
}

// record is a logger without times.
func record(out io.Writer) *slog.Logger {
	return slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey || a.Key == slog.LevelKey {
			return slog.Attr{}
		}
		return a
	}}))
}

// lines are what was logged, by a timer's goroutine too.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

// take returns them, and forgets them.
func (l *lines) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.b.Reset()
	return l.b.String()
}

func (l *Limiter) remembered() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.kinds)
}

func TestLimiterCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out lines
		l := NewLimiter(record(&out))
		expect := func(want string) {
			t.Helper()
			synctest.Wait()
			if got := out.take(); got != want {
				t.Errorf("after %s: logged\n%swant\n%s", time.Now().Format(time.TimeOnly), got, want)
			}
		}
		for i := range 1000 {
			l.Warn("refused", "a", "i", i)
			l.Warn("refused", "b", "i", i)
		}
		expect("msg=refused i=0\nmsg=refused i=0\n")
		time.Sleep(every - time.Nanosecond)
		expect("")
		time.Sleep(time.Nanosecond)
		expect("msg=refused i=999 left_out=998\nmsg=refused i=999 left_out=998\n")
		l.Warn("refused", "a", "i", 1)
		expect("")
		time.Sleep(every)
		expect("msg=refused i=1\n")
		time.Sleep(every)
		expect("")
		if n := l.remembered(); n != 0 {
			t.Errorf("%d kinds are remembered after quiet minutes", n)
		}
		l.Warn("refused", "a", "i", 2)
		expect("msg=refused i=2\n")
		l.Warn("refused", "a", "i", 3)
		l.Close()
		expect("msg=refused i=3\n")
		l.Warn("refused", "a", "i", 4)
		expect("msg=refused i=4\n")
	})
}

// TestLimiterIsBounded: neither memory nor lines grow with how many cause events.
func TestLimiterIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out lines
		l := NewLimiter(record(&out))
		defer l.Close()
		for i := range 10000 {
			l.Warn("refused", fmt.Sprint(i))
		}
		if n := l.remembered(); n > maxKinds+1 {
			t.Errorf("%d kinds are remembered", n)
		}
		if n := strings.Count(out.take(), "\n"); n > maxKinds+1 {
			t.Errorf("%d lines at once", n)
		}
		time.Sleep(every)
		synctest.Wait()
		got := out.take()
		if want := fmt.Sprintf("left_out=%d\n", 10000-maxKinds-2); !strings.HasSuffix(got, want) {
			t.Errorf("a minute later: %s, want %s", got, want)
		}
	})
}
