package limits

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"

	"go.uber.org/goleak"

	"hbmfs/transport/logging"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sharesOf are shares of one limit, by client.
func sharesOf(l *Limit, names ...string) []*Share {
	shares := make([]*Share, len(names))
	for i, name := range names {
		shares[i] = l.Join(name, 0)
	}
	return shares
}

// takeAll takes one at a time until that is refused, and returns how many it got.
func takeAll(t *testing.T, s *Share) (n int64, refusal *Error) {
	t.Helper()
	for {
		err := s.Acquire(1)
		if errors.As(err, &refusal) && errors.Is(err, ErrLimit) {
			return n, refusal
		}
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
}

// TestOneClientLeavesRoom: clients take all they can, one after another, and each
// finds something.
func TestOneClientLeavesRoom(t *testing.T) {
	l := New(Config{What: "files", All: 1024, Remedy: "close some"})
	for i, s := range sharesOf(l, "a", "b", "c", "d") {
		want := int64(512 >> i)
		n, refusal := takeAll(t, s)
		if n != want {
			t.Errorf("client %d got %d, want %d", i, n, want)
		}
		if text := refusal.Error(); !strings.Contains(text, "files") || !strings.Contains(text, refusal.Client) || !strings.Contains(text, "close some") {
			t.Errorf("refused by: %s", text)
		}
		if refusal.Has != n || refusal.Used != l.Used() || refusal.All != 1024 {
			t.Errorf("refused by %+v", refusal)
		}
	}
}

func TestBounds(t *testing.T) {
	for name, c := range map[string]struct {
		config Config
		client string
		most   int64
		want   int64
		text   string
	}{
		"half":    {Config{All: 10}, "a", 0, 5, `client "a" has 5, and the 5 of 10 that are left`},
		"each":    {Config{All: 10, Each: 3}, "a", 0, 3, `client "a" has 3, and may have 3`},
		"share":   {Config{All: 10}, "a", 2, 2, `client "a" has 2, and may have 2`},
		"itself":  {Config{All: 10, Each: 3}, "", 0, 10, "all clients have 10 of 10"},
		"nothing": {Config{All: 0}, "a", 0, 0, "all clients have 0 of 0"},
	} {
		s := New(c.config).Join(c.client, c.most)
		if n, refusal := takeAll(t, s); n != c.want || !strings.Contains(refusal.Error(), c.text) {
			t.Errorf("%s: %d, then %v", name, n, refusal)
		}
	}
}

// TestSharesAddUp: what a client has is the sum of its shares, and what one gives
// back another may have.
func TestSharesAddUp(t *testing.T) {
	l := New(Config{All: 8})
	s := sharesOf(l, "a", "a", "b")
	takeAll(t, s[0])
	if n, _ := takeAll(t, s[1]); n != 0 {
		t.Errorf("another share of the client got %d more", n)
	}
	s[0].Release(1)
	if n, _ := takeAll(t, s[1]); n != 1 {
		t.Errorf("got %d of the 1 that came back", n)
	}
	if err := s[2].Acquire(1); err != nil {
		t.Error(err)
	}
	s[2].Move(1, s[0])
	if s[0].used != 4 || l.clients["b"].used != 0 || l.Used() != 5 {
		t.Errorf("after a move: %d, %d, %d", s[0].used, l.clients["b"].used, l.Used())
	}
}

// TestLeaveGivesBack: nothing is left of clients that are gone, however many there
// were.
func TestLeaveGivesBack(t *testing.T) {
	l := New(Config{All: 8})
	for i := range 1000 {
		s, err := l.Take(string(rune('a'+i)), 4)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := l.Take("z", 5); !errors.Is(err, ErrLimit) {
			t.Fatal(err)
		}
		s.Leave()
		s.Leave()
	}
	if l.Used() != 0 || len(l.clients) != 0 {
		t.Errorf("%d in use by %d clients", l.Used(), len(l.clients))
	}
}

// TestRefusalsAreLogged once a minute for each client.
func TestRefusalsAreLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		log := logging.NewLimiter(slog.New(slog.NewTextHandler(&out, nil)))
		defer log.Close()
		l := New(Config{What: "sessions", All: 2, Remedy: "end one", Log: log})
		for _, name := range []string{"a", "b"} {
			for range 100 {
				_, _ = l.Take(name, 3)
			}
		}
		text := out.String()
		if n := strings.Count(text, `msg="refused: too many sessions"`); n != 2 {
			t.Errorf("%d lines", n)
		}
		for _, part := range []string{"client=a", "client=b", "end one"} {
			if !strings.Contains(text, part) {
				t.Errorf("no %s in %s", part, text)
			}
		}
	})
}

func TestNoAllocations(t *testing.T) {
	l := New(Config{All: 8})
	s := l.Join("a", 4)
	if n := testing.AllocsPerRun(1000, func() {
		if err := s.Acquire(1); err != nil || !s.TryAcquire(1) || s.Wait(t.Context(), 1) != nil {
			t.Fatal("refused")
		}
		s.Release(3)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
