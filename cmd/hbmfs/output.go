package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	"hbmfs/transport/logging"
	"hbmfs/transport/printable"
)

// shown is text from outside, such as a file's name, as one line of a terminal
// can have it.
func shown(s string) string { return printable.Line(s, printable.MaxName) }

// shownText is shown for what may hold several names.
func shownText(s string) string { return printable.Line(s, printable.MaxText) }

// newLog is the log of a daemon, which other packages' own words go to as well.
func newLog(w io.Writer) *slog.Logger {
	log := logging.New(w)
	slog.SetDefault(log)
	return log
}

// writeJSON writes v as JSON and a line feed. indent is as for [json.Indent].
func writeJSON(out io.Writer, v any, indent string) error {
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetIndent("", indent)
	if err := enc.Encode(v); err != nil {
		return err
	}
	_, err := out.Write(escapeJSON(text.Bytes()))
	return err
}

// escapeJSON escapes in valid JSON what a terminal might obey and JSON leaves as
// it is, such as marks that change the direction of text. The value stays the same.
func escapeJSON(text []byte) []byte {
	var safe []byte
	for len(text) > 0 {
		r, n := utf8.DecodeRune(text)
		if r < utf8.RuneSelf && r != 0x7f || strconv.IsPrint(r) && (r != utf8.RuneError || n > 1) {
			safe = append(safe, text[:n]...)
		} else {
			for _, unit := range utf16.AppendRune(nil, r) {
				safe = fmt.Appendf(safe, `\u%04x`, unit)
			}
		}
		text = text[n:]
	}
	return safe
}
