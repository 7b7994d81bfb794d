package main

import (
	"maps"
	"slices"
	"testing"
)

func TestSelectRows(t *testing.T) {
	if all, err := selectRows(""); err != nil || all != nil {
		t.Errorf("%v, error %v; want all", all, err)
	}
	got, err := selectRows("tcp,sweep")
	if err != nil || !slices.Equal(slices.Sorted(maps.Keys(got)), []string{"sweep", "tcp"}) {
		t.Errorf("%v, error %v", got, err)
	}
	o := options{only: got}
	if !o.wants("tcp") || o.wants("find") || !new(options).wants("find") {
		t.Error("wants another")
	}
	loader, err := selectRows("loader")
	if err != nil || !loader["clients"] || loader["tcp"] {
		t.Errorf("%v, error %v", loader, err)
	}
	if got, err := selectRows("tcp,nothing"); err == nil {
		t.Errorf("%v for an unknown row", got)
	}
}
