package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func sampleChecks(needed bool) []check {
	return []check{
		{"device", "good", true, func() (string, error) { return "tried", nil }, "unused"},
		{"transport", "bad", needed, func() (string, error) { return "", errors.New("ENODEV") }, "buy one"},
	}
}

func TestDoctorReportsEachProbe(t *testing.T) {
	var out bytes.Buffer
	if err := runDoctor(sampleChecks(false), true, &out); err != nil {
		t.Fatal(err)
	}
	var got []finding
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	want := []finding{
		{Kind: "device", Name: "good", Usable: true, Detail: "tried", Needed: true},
		{Kind: "transport", Name: "bad", Detail: "ENODEV", Remedy: "buy one"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("findings differ (-want +got):\n%s", d)
	}
}

func TestDoctorFailsWithoutWhatIsNeeded(t *testing.T) {
	var out bytes.Buffer
	err := runDoctor(sampleChecks(true), false, &out)
	if err == nil || !strings.Contains(err.Error(), "transport bad") {
		t.Errorf("error %v; want one that names what is missing", err)
	}
	if !strings.Contains(out.String(), "buy one") {
		t.Errorf("no remedy in:\n%s", &out)
	}
}

// TestProbesAnswer runs the real probes: each must end, and say something.
func TestProbesAnswer(t *testing.T) {
	for _, c := range checks() {
		f := c.run()
		if f.Detail == "" || f.Usable == (f.Remedy != "") && c.remedy != "" {
			t.Errorf("%+v: no detail, or a remedy where none is due", f)
		}
	}
}
