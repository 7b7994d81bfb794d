package main

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"

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
	_, err := out.Write(printable.JSON(text.Bytes()))
	return err
}
