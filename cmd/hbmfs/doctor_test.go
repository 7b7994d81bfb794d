package main

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"hbmfs/transport/probe"
)

func sample(needed bool) []probe.Finding {
	return []probe.Finding{
		{Kind: "device", Name: "good", Usable: true, Detail: "tried", Needed: true},
		{Kind: "transport", Name: "bad", Detail: "ENODEV", Remedy: "buy one", Needed: needed},
	}
}

func TestDoctorReportsEachProbe(t *testing.T) {
	var out bytes.Buffer
	if err := runDoctor(sample(false), true, &out); err != nil {
		t.Fatal(err)
	}
	var got []probe.Finding
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(sample(false), got); d != "" {
		t.Errorf("findings differ (-want +got):\n%s", d)
	}
}

func TestDoctorFailsWithoutWhatIsNeeded(t *testing.T) {
	var out bytes.Buffer
	err := runDoctor(sample(true), false, &out)
	if err == nil || !strings.Contains(err.Error(), "transport bad") {
		t.Errorf("error %v; want one that names what is missing", err)
	}
	if !strings.Contains(out.String(), "buy one") {
		t.Errorf("no remedy in:\n%s", &out)
	}
}

// TestDoctorUntried: what nobody could try is neither there nor missing.
func TestDoctorUntried(t *testing.T) {
	f := probe.Finding{Kind: "mount", Name: "mount", Detail: "not tried: no memory to try it with", Remedy: "find some", Needed: true, Untried: true}
	var out bytes.Buffer
	if err := runDoctor([]probe.Finding{f}, false, &out); err != nil {
		t.Errorf("missing: %v", err)
	}
	if text := out.String(); !strings.Contains(text, "  ?  not tried: no memory") {
		t.Errorf("told as:\n%s", text)
	}
}

// TestProbesAnswer runs the real probes: each must end, and say something.
func TestProbesAnswer(t *testing.T) {
	seen := make(map[string]bool)
	for _, f := range probeAll() {
		seen[f.Kind] = true
		if f.Detail == "" || f.Usable && f.Remedy != "" || slices.Index(kinds, f.Kind) < 0 {
			t.Errorf("%+v: no detail, a remedy where none is due, or of no kind", f)
		}
	}
	if len(seen) < 5 {
		t.Errorf("only of %v", seen)
	}
}
