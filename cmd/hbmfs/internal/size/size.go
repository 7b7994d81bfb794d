// Package size is numbers of bytes as people write and read them.
package size

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Bytes is a number of them, and a flag that takes a number of bytes, such as 256MiB.
type Bytes int64

var units = []struct {
	suffix string
	shift  uint
}{{"T", 40}, {"G", 30}, {"M", 20}, {"K", 10}}

// Parse reads a whole number of bytes, or of K, M, G or T (powers of 1024),
// also written KiB, MiB, GiB and TiB.
func Parse(s string) (Bytes, error) {
	digits, shift := s, uint(0)
	for _, u := range units {
		if d, ok := cutUnit(s, u.suffix); ok {
			digits, shift = d, u.shift
			break
		}
	}
	n, err := strconv.ParseUint(digits, 10, 63)
	if err != nil || n > math.MaxInt64>>shift {
		return 0, fmt.Errorf("%q is not a size; give a whole number with an optional K, M, G or T, such as 256MiB or 64K", s)
	}
	return Bytes(n << shift), nil
}

func cutUnit(s, unit string) (string, bool) {
	if d, ok := strings.CutSuffix(s, unit); ok {
		return d, true
	}
	return strings.CutSuffix(s, unit+"iB")
}

// Set implements [pflag.Value].
func (b *Bytes) Set(s string) error {
	n, err := Parse(s)
	if err == nil {
		*b = n
	}
	return err
}

// Type implements [pflag.Value]: what --help calls the argument.
func (*Bytes) Type() string { return "size" }

// String returns the shortest exact form that [Parse] reads back.
func (b *Bytes) String() string {
	for _, u := range units {
		if n := int64(*b); n != 0 && n%(1<<u.shift) == 0 {
			return strconv.FormatInt(n>>u.shift, 10) + u.suffix + "iB"
		}
	}
	return strconv.FormatInt(int64(*b), 10)
}

// Human is n to about three digits, for tables.
func Human(n int64) string {
	for _, u := range units {
		if n >= 1<<u.shift {
			return fmt.Sprintf("%.1f %siB", float64(n)/float64(int64(1)<<u.shift), u.suffix)
		}
	}
	return fmt.Sprintf("%d B", n)
}
