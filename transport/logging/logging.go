// Package logging is how the daemons write their logs: one line an event, with
// nothing in it whole that could be of any length, and what peers can cause as
// often as they like at most once a minute.
//
// It decides no levels and opens no file.
//
// Locking: Limiter.mu guards what is remembered of each kind of event, and is
// held over the write of a line, so that lines and counts keep their order.
package logging

import (
	"fmt"
	"io"
	"log/slog"

	"hbmfs/transport/printable"
)

// New returns a logger that writes lines of key=value to w. What can't be printed
// is escaped, and each value is cut, whoever logs it.
func New(w io.Writer) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{ReplaceAttr: cut}))
}

// cut bounds a value. [slog.TextHandler] escapes it.
func cut(_ []string, a slog.Attr) slog.Attr {
	switch a.Value.Kind() {
	case slog.KindString:
		a.Value = slog.StringValue(printable.Cut(a.Value.String(), printable.MaxText))
	case slog.KindAny:
		a.Value = slog.StringValue(printable.Cut(fmt.Sprint(a.Value.Any()), printable.MaxText))
	}
	return a
}
