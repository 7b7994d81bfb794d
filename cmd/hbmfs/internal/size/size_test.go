package size

import (
	"math"
	"testing"
)

func TestParseSize(t *testing.T) {
	for in, want := range map[string]int64{
		"0": 0, "1": 1, "4096": 4096, "64K": 64 << 10, "64KiB": 64 << 10,
		"256MiB": 256 << 20, "1G": 1 << 30, "3TiB": 3 << 40,
		"9223372036854775807": math.MaxInt64,
	} {
		if got, err := Parse(in); err != nil || int64(got) != want {
			t.Errorf("Parse(%q) = %d, %v; want %d", in, got, err, want)
		}
	}
}

func TestParseSizeRefuses(t *testing.T) {
	for _, in := range []string{
		"", "K", "-1", "+1", "1.5G", "1 G", "1KB", "1kib", "0x10", "1_0",
		"9223372036854775808", "8388608T", "99999999999G",
	} {
		if got, err := Parse(in); err == nil {
			t.Errorf("Parse(%q) = %d; want an error", in, got)
		}
	}
}

func FuzzParseSize(f *testing.F) {
	for _, s := range []string{"0", "1GiB", "64K", "8388607T", "-1", "1iB"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := Parse(s)
		if err != nil {
			return
		}
		if n < 0 {
			t.Fatalf("Parse(%q) = %d, negative", s, n)
		}
		if again, err := Parse(n.String()); err != nil || again != n {
			t.Fatalf("Parse(%q) = %d, but %q reads back as %d, %v", s, n, n.String(), again, err)
		}
	})
}
