package printable

import (
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestLine(t *testing.T) {
	for _, c := range []struct {
		in    string
		limit int
		want  string
	}{
		{"", 10, ""},
		{"plain name, ÄÖÜ 日本", 99, "plain name, ÄÖÜ 日本"},
		{"\x1b[31mred\a", 99, `\x1b[31mred\a`},
		{"two\nlines\r\t", 99, `two\nlines\r\t`},
		{"\u202egnp.exe", 99, `\u202egnp.exe`},
		{"C1 \u009b31m", 99, `C1 \u009b31m`},
		{"not UTF-8 \xff\xc3", 99, `not UTF-8 \xff\xc3`},
		{"a replacement \ufffd", 99, "a replacement \ufffd"},
		{`back\slash and 'quotes'`, 99, `back\slash and 'quotes'`},
		{"0123456789", 10, "0123456789"},
		{"0123456789a", 10, "0123456789… (11 bytes)"},
		{"01234567\x1b9", 10, `01234567… (10 bytes)`},
		{"日本日本", 7, "日本… (12 bytes)"},
		{strings.Repeat("\x00", 1<<20), 8, `\x00\x00… (1048576 bytes)`},
	} {
		if got := Line(c.in, c.limit); got != c.want {
			t.Errorf("Line(%.40q, %d) = %q, want %q", c.in, c.limit, got, c.want)
		}
	}
}

func TestCut(t *testing.T) {
	for in, want := range map[string]string{
		"":                                     "",
		"12345678":                             "12345678",
		"123456789":                            "12345678… (9 bytes)",
		"1234567日":                             "1234567… (10 bytes)",
		"\x80\x80\x80\x80\x80\x80\x80\x80\x80": "\x80\x80\x80\x80… (9 bytes)",
	} {
		if got := Cut(in, 8); got != want {
			t.Errorf("Cut(%q, 8) = %q, want %q", in, got, want)
		}
	}
}

// FuzzLine: whatever comes in, what goes out is one short line that a terminal
// shows as it is, and plain text is not changed.
func FuzzLine(f *testing.F) {
	f.Add("name", 64)
	f.Add("\x1b]0;title\a", 20)
	f.Add("\u202e\u009b\xff日本", 8)
	f.Fuzz(func(t *testing.T, s string, limit int) {
		limit = min(max(limit, 0), 1<<16)
		got := Line(s, limit)
		if len(got) > limit+len("… (18446744073709551615 bytes)") {
			t.Errorf("%d bytes, limit %d", len(got), limit)
		}
		if !utf8.ValidString(got) {
			t.Errorf("%q is not UTF-8", got)
		}
		for _, r := range got {
			if !strconv.IsPrint(r) {
				t.Errorf("%q has %U", got, r)
			}
		}
		if len(s) <= limit && isPlain(s) && got != s {
			t.Errorf("%q became %q", s, got)
		}
		if cut := Cut(s, limit); len(cut) > limit+len("… (18446744073709551615 bytes)") {
			t.Errorf("cut to %d bytes, limit %d", len(cut), limit)
		}
	})
}
