package readahead

import "testing"

// TestAhead: what a row of READs, given by their numbers, has read ahead after the
// last of them.
func TestAhead(t *testing.T) {
	for name, c := range map[string]struct {
		reads []int64 // of 1 MiB
		want  int64   // MiB
	}{
		"one":                     {[]int64{0}, 0},
		"two":                     {[]int64{0, 1}, 2},
		"a long one":              {[]int64{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, 8},
		"swapped":                 {[]int64{0, 2, 1, 4, 3}, 5},
		"the second first":        {[]int64{1, 0}, 0},
		"the third first":         {[]int64{2, 1, 0, 3, 4, 5}, 6},
		"far apart, then between": {[]int64{0, 3, 2, 1, 4}, 5},
		"backward":                {[]int64{9, 8, 7, 6, 5, 4, 3}, 0},
		"here and there":          {[]int64{5, 90, 11, 40, 2, 77, 30}, 0},
		"from the middle":         {[]int64{8, 9, 10, 11}, 1},
		"two in turn":             {[]int64{100, 0, 101, 1, 102, 2, 103, 3}, 4},
		"once more":               {[]int64{0, 1, 2, 3, 0}, 0},
		"once more, further":      {[]int64{0, 1, 2, 3, 0, 1, 2}, 3},
	} {
		var q sequences
		var got sequence
		for _, i := range c.reads {
			got = q.add(i*mib, (i+1)*mib)
		}
		if got.ahead()/mib != c.want {
			t.Errorf("%s: %d bytes ahead of %+v, want %d MiB", name, got.ahead(), got, c.want)
		}
	}
}
