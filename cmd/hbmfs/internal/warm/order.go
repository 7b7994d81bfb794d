package warm

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"unicode"
)

// Range is a part of a file, in bytes.
type Range struct {
	Path     string
	Off, Len int64 // Len is [Whole] for all from Off on
}

// Whole is the length of a range that ends with its file.
const Whole = math.MaxInt64

var (
	// ErrOrder: a line of an order is wrong.
	ErrOrder = errors.New("wrong order")
	// ErrProgress: what the reader says of itself makes no sense.
	ErrProgress = errors.New("the reader's progress")

	errOrderLines = errors.New("the order") // where its lines fail
)

// maxLine is the longest line that is read, in bytes.
const maxLine = 64 << 10

// ParseLine reads "path" or "path off len", parted by blanks or tabs. A path with
// white space or quotes is written as a quoted string, as Go and C have it.
func ParseLine(line string) (Range, error) {
	path, rest, err := cutPath(strings.TrimSpace(line))
	if err != nil {
		return Range{}, err
	}
	r := Range{Path: path, Len: Whole}
	fields := strings.Fields(rest)
	switch {
	case path == "" || strings.IndexByte(path, 0) >= 0:
		return Range{}, fmt.Errorf("%w: %s names no file", ErrOrder, quoted(line))
	case len(fields) == 0:
		return r, nil
	case len(fields) != 2:
		return Range{}, fmt.Errorf("%w: %s is neither a path nor \"path off len\"; quote a path with blanks", ErrOrder, quoted(line))
	}
	if r.Off, err = parseNumber(fields[0]); err != nil {
		return Range{}, err
	}
	if r.Len, err = parseNumber(fields[1]); err != nil {
		return Range{}, err
	}
	if r.Len > math.MaxInt64-r.Off {
		return Range{}, fmt.Errorf("%w: %d bytes at %d end beyond any file", ErrOrder, r.Len, r.Off)
	}
	return r, nil
}

func cutPath(line string) (path, rest string, err error) {
	if !strings.HasPrefix(line, `"`) {
		end := strings.IndexFunc(line, unicode.IsSpace)
		if end < 0 {
			end = len(line)
		}
		return line[:end], line[end:], nil
	}
	prefix, err := strconv.QuotedPrefix(line)
	if err == nil {
		path, err = strconv.Unquote(prefix)
	}
	if err != nil {
		return "", "", fmt.Errorf("%w: %s: the quoted path is broken", ErrOrder, quoted(line))
	}
	return path, line[len(prefix):], nil
}

func parseNumber(s string) (int64, error) {
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil {
		return 0, fmt.Errorf("%w: %s is no number of bytes", ErrOrder, quoted(s))
	}
	return int64(n), nil
}

// maxQuoted is how much of a wrong line is told, in bytes.
const maxQuoted = 60

func quoted(line string) string {
	if len(line) > maxQuoted {
		return strconv.Quote(line[:maxQuoted]) + "..."
	}
	return strconv.Quote(line)
}

// readLines gives each line to use, with its number, from 1 on. Errors wrap what.
func readLines(r io.Reader, what error, use func(number int64, line string) error) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	number := int64(0)
	for lines.Scan() {
		number++
		if err := use(number, lines.Text()); err != nil {
			return fmt.Errorf("%w, line %d: %w", what, number, err)
		}
	}
	switch err := lines.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return fmt.Errorf("%w, line %d: it is longer than %d bytes", what, number+1, maxLine)
	case err != nil:
		return fmt.Errorf("%w, line %d: %w", what, number+1, err)
	}
	return nil
}
