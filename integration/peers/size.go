package main

import (
	"fmt"
	"strconv"
	"strings"
)

// byteSize is a flag's number of bytes, written with a binary unit: "2GiB".
type byteSize int64

var sizeUnits = []struct {
	name  string
	bytes int64
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"", 1}}

// String picks the largest unit that divides s.
func (s *byteSize) String() string { return formatSize(int64(*s)) }

func formatSize(n int64) string {
	for _, u := range sizeUnits {
		if n >= u.bytes && n%u.bytes == 0 {
			return fmt.Sprintf("%d%s", n/u.bytes, u.name)
		}
	}
	return strconv.FormatInt(n, 10)
}

// Set parses a positive whole number of bytes.
func (s *byteSize) Set(text string) error {
	for _, u := range sizeUnits {
		digits, ok := strings.CutSuffix(text, u.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(digits, 10, 64)
		if err != nil || n <= 0 || n > (1<<62)/u.bytes {
			return fmt.Errorf("%q is not a size such as 2GiB or 512MiB", text)
		}
		*s = byteSize(n * u.bytes)
		return nil
	}
	return nil
}
