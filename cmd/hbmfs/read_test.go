package main

import "testing"

func TestByteSpan(t *testing.T) {
	var s byteSpan
	if err := s.Set("1GiB:64K"); err != nil || s.off != 1<<30 || s.length != 64<<10 || s.String() != "1GiB:64KiB" {
		t.Errorf("1GiB:64K is %+v, %q, %v", s, s.String(), err)
	}
	for _, bad := range []string{"", ":", "1:", ":1", "1", "1:-1", "1:2:3"} {
		if err := s.Set(bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}
