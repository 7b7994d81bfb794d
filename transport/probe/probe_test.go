package probe

import (
	"errors"
	"fmt"
	"testing"
)

func TestOf(t *testing.T) {
	for _, c := range []struct {
		err  error
		want Finding
	}{
		{nil, Finding{Kind: "device", Name: "d", Usable: true, Detail: "tried", Needed: true}},
		{errors.New("ENODEV"), Finding{Kind: "device", Name: "d", Detail: "ENODEV", Remedy: "buy one", Needed: true}},
		{fmt.Errorf("%w: no memory", ErrUntried), Finding{Kind: "device", Name: "d", Detail: "not tried: no memory", Remedy: "buy one", Needed: true, Untried: true}},
	} {
		got := Of("device", "d", "buy one", func() (string, error) { return "tried", c.err }).Need(true)
		if got != c.want {
			t.Errorf("%+v, want %+v", got, c.want)
		}
	}
}
