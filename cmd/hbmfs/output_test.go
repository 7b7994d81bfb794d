package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"hbmfs/fs"
	"hbmfs/transport/probe"
)

// nasty is a name that a terminal would obey, and that forges lines.
const nasty = "a\x1b[2J\nhbmfs: all is well\u202e\u009b31m\x7f"

// checkSafe fails the test if text has what a terminal obeys.
func checkSafe(t *testing.T, what, text string) {
	t.Helper()
	if strings.ContainsAny(text, "\x1b\u202e\u009b\x7f") || strings.Contains(text, "\nhbmfs: all") {
		t.Errorf("%s is raw: %q", what, text)
	}
	if len(text) > 64<<10 {
		t.Errorf("%s has %d bytes", what, len(text))
	}
}

// TestNothingRaw: whatever prints a name or text from outside escapes and bounds it.
func TestNothingRaw(t *testing.T) {
	long := strings.Repeat(nasty, 1<<15)
	for _, text := range []string{nasty, long} {
		for what, print := range map[string]func(*bytes.Buffer){
			"an error": func(b *bytes.Buffer) { complain(b, usagef("%s", text)) },
			"read":     func(b *bytes.Buffer) { _ = printRow(b, readResult{File: text, Reason: text}) },
			"stat":     func(b *bytes.Buffer) { _ = printStats(b, fs.Stats{Source: text, Errors: map[string]int64{text: 1}}) },
			"doctor": func(b *bytes.Buffer) {
				_ = printFindings([]probe.Finding{{Name: text, Detail: text, Remedy: text}}, false, b)
			},
			"mount's log": func(b *bytes.Buffer) { newLog(b).Warn("refused", "client", text) },
		} {
			var out bytes.Buffer
			print(&out)
			checkSafe(t, what, out.String())
			if out.Len() == 0 {
				t.Errorf("%s printed nothing", what)
			}
		}
	}
}

// TestUsageIsShown: arguments are from outside, too.
func TestUsageIsShown(t *testing.T) {
	for _, args := range [][]string{{nasty}, {"mount", nasty, "x"}, {"serve", nasty}, {"read", nasty}, {"mount", "--pool", nasty}} {
		_, _, stderr := command(t, args...)
		checkSafe(t, strings.Join(args, " "), stderr)
	}
}

func FuzzJSON(f *testing.F) {
	f.Add(nasty)
	f.Add("\U000e0001 tags, \ufffd, <&>\u2028, 日本")
	f.Add("\xff")
	f.Fuzz(func(t *testing.T, name string) {
		var out bytes.Buffer
		if err := writeJSON(&out, readResult{File: name}, ""); err != nil {
			t.Fatal(err)
		}
		checkSafe(t, "JSON", out.String()[:min(out.Len(), 64<<10)])
		var back readResult
		if err := json.Unmarshal(out.Bytes(), &back); err != nil || utf8.ValidString(name) && back.File != name {
			t.Errorf("%q came back as %q, %v", name, back.File, err)
		}
	})
}
