package warm

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestParseLine(t *testing.T) {
	for line, want := range map[string]Range{
		"a":                        {"a", 0, Whole},
		" a/b \r":                  {"a/b", 0, Whole},
		"a 0 0":                    {"a", 0, 0},
		"a\t5  7":                  {"a", 5, 7},
		`"a b" 5 7`:                {"a b", 5, 7},
		`"a\x20\"b\u00e9" 5 7`:     {`a "bé`, 5, 7},
		`a"b`:                      {`a"b`, 0, Whole},
		"/x 9223372036854775807 0": {"/x", math.MaxInt64, 0},
		"/x 1 9223372036854775806": {"/x", 1, math.MaxInt64 - 1},
		"été 1 2":                  {"été", 1, 2},
	} {
		if got, err := ParseLine(line); err != nil || got != want {
			t.Errorf("%q is %+v, %v; want %+v", line, got, err, want)
		}
	}
	for _, line := range []string{
		"", " ", "a 1", "a 1 2 3", "a b c", "a -1 2", "a 1 -2", "a 0x1 2", "a 1e3 2", "a 1 9223372036854775807",
		"a 9223372036854775808 0", `"a`, `"a\q" 1 2`, `""`, "a\x00b", `"\x00"`,
	} {
		if got, err := ParseLine(line); !errors.Is(err, ErrOrder) {
			t.Errorf("%q is %+v, %v; want ErrOrder", line, got, err)
		}
	}
}

func TestLongLine(t *testing.T) {
	use := func(int64, string) error { return nil }
	if err := readLines(strings.NewReader("a\n"+strings.Repeat("x", maxLine+1)), errOrderLines, use); err == nil || !strings.Contains(err.Error(), "the order, line 2: it is longer") {
		t.Errorf("%v", err)
	}
}

// TestWrongLineIsCut: nobody wants to read all of a binary file.
func TestWrongLineIsCut(t *testing.T) {
	for _, line := range []string{strings.Repeat("x ", 2000), `"` + strings.Repeat("y", 4000), "a 1 " + strings.Repeat("z", 4000)} {
		if _, err := ParseLine(line); err == nil || len(err.Error()) > 200 {
			t.Errorf("%v", err)
		}
	}
}

// TestRoots: the paths of an order stay below its directory.
func TestRoots(t *testing.T) {
	real, link := t.TempDir(), filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(real, link); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"a/b":                       filepath.Join(link, "a/b"),
		"a/../b":                    filepath.Join(link, "b"),
		filepath.Join(link, "a"):    filepath.Join(link, "a"),
		filepath.Join(real, "a"):    filepath.Join(real, "a"),
		"../../etc/passwd":          "",
		"a/../../x":                 "",
		"/etc/passwd":               "",
		filepath.Join(real, "../x"): "",
		real + "x":                  "",
	} {
		got, err := rootsOf(link).join(path)
		if got != want || errors.Is(err, ErrOrder) != (want == "") {
			t.Errorf("%s is %q, %v; want %q", path, got, err, want)
		}
	}
}

// FuzzOrder: whatever an order or a reader's progress holds, it is refused or makes
// sense; and what makes sense can be written again.
func FuzzOrder(f *testing.F) {
	f.Add("a 1 2\n\"b c\"\n")
	f.Add("1\n\n-1\n")
	f.Fuzz(func(t *testing.T, text string) {
		_ = readLines(strings.NewReader(text), errOrderLines, func(_ int64, line string) error {
			r, err := ParseLine(line)
			if err != nil {
				if !errors.Is(err, ErrOrder) {
					t.Errorf("%q: %v", line, err)
				}
				return nil
			}
			if r.Path == "" || r.Off < 0 || r.Len < 0 || r.Len != Whole && r.Off+r.Len < 0 {
				t.Fatalf("%q is %+v", line, r)
			}
			again := strconv.Quote(r.Path)
			if r.Len != Whole || r.Off != 0 {
				again += " " + strconv.FormatInt(r.Off, 10) + " " + strconv.FormatInt(r.Len, 10)
			}
			if back, err := ParseLine(again); err != nil || back != r {
				t.Errorf("%q is %+v, and %q is %+v, %v", line, r, again, back, err)
			}
			return nil
		})
		p := newPace(1)
		_ = p.listen(strings.NewReader(text))
		if p.read < 0 || p.ahead != 0 {
			t.Errorf("%q: %d lines read", text, p.read)
		}
	})
}
