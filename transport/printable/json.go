package printable

import (
	"fmt"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// JSON escapes in valid JSON what a terminal might obey and JSON leaves as
// it is, such as marks that change the direction of text. The value stays the same.
func JSON(text []byte) []byte {
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
