// Package printable makes text from outside fit to be shown: names of files,
// words of a peer, what the kernel reports. Such text may be of any length, and
// may hold control characters that a terminal obeys, or that forge a line of a
// log.
//
// It knows nothing of where the text goes, and holds no lock.
package printable

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Limits on what is shown, in bytes: of a name or path, and of a message, which
// may hold several.
const (
	MaxName = 512
	MaxText = 4096
)

// Line returns s with everything that is not a printable character or a blank
// written as Go escapes it (\x1b, \n, \u202e), cut as [Cut] does to limit bytes.
func Line(s string, limit int) string {
	if len(s) <= limit && isPlain(s) {
		return s
	}
	var b strings.Builder
	for rest := s; rest != ""; {
		r, n := utf8.DecodeRuneInString(rest)
		shown := rest[:n]
		if r == utf8.RuneError && n == 1 {
			shown = fmt.Sprintf(`\x%02x`, rest[0])
		} else if !strconv.IsPrint(r) {
			shown = strings.Trim(strconv.QuoteRune(r), "'")
		}
		if b.Len()+len(shown) > limit {
			return b.String() + leftOut(s)
		}
		b.WriteString(shown)
		rest = rest[n:]
	}
	return b.String()
}

// Cut returns s if it has at most limit bytes, and else how it begins, with an
// ellipsis and its length.
func Cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	end := limit
	for end > 0 && end > limit-utf8.UTFMax && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + leftOut(s)
}

func leftOut(s string) string { return fmt.Sprintf("… (%d bytes)", len(s)) }

func isPlain(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !strconv.IsPrint(r) })
}
