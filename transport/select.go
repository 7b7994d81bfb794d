package transport

import (
	"fmt"
	"slices"
	"strings"
)

// Auto is the --transport value that takes the most direct usable candidate.
const Auto = "auto"

// Candidate is a transport that a mount might use. Where this host or this
// build has none of that name, Transport is nil and Err says why and what to do.
type Candidate struct {
	Name      string
	Path      Path
	Transport Transport
	Err       error
}

// Verdict is what selection found out about one candidate. Err is nil if it is
// usable, and otherwise names the probe that refused it.
type Verdict struct {
	Name   string
	Path   Path
	Plan   Plan
	Err    error
	Chosen bool
}

// Selection is the path that a mount takes, and what was found out about each
// of the others.
type Selection struct {
	Transport Transport
	Plan      Plan
	Why       Reason
	Verdicts  []Verdict
}

// Select probes candidates against mem and takes the most direct one that is
// usable and that the target serves; of two equally direct ones, the first. want
// is [Auto] or a candidate's name: others are not probed then. With
// requireDirect, a path that is not [Path.Direct] is refused. The error wraps
// [ErrUnavailable] and lists every candidate with what refused it.
func Select(want string, requireDirect bool, served []string, mem Memory, candidates []Candidate) (Selection, error) {
	var s Selection
	chosen := -1
	for i, c := range candidates {
		v := judge(c, want, served, mem)
		if v.Err == nil && requireDirect && !v.Plan.Path.Direct() {
			v.Err = fmt.Errorf("%w: its path is %q, and --require-direct refuses it", ErrUnavailable, v.Plan.Path)
		}
		if v.Err == nil && (chosen < 0 || v.Plan.Path > s.Verdicts[chosen].Plan.Path) {
			chosen = i
		}
		s.Verdicts = append(s.Verdicts, v)
	}
	if chosen < 0 {
		return s, s.refusal(want)
	}
	s.Verdicts[chosen].Chosen = true
	s.Transport = candidates[chosen].Transport
	s.Plan = s.Verdicts[chosen].Plan
	s.Why = why(want, s.Plan)
	return s, nil
}

func judge(c Candidate, want string, served []string, mem Memory) Verdict {
	v := Verdict{Name: c.Name, Path: c.Path, Err: c.Err}
	switch {
	case v.Err != nil:
	case want != Auto && want != c.Name:
		v.Err = fmt.Errorf("%w: not asked for (--transport %s)", ErrUnavailable, want)
	case !slices.Contains(served, c.Name):
		v.Err = fmt.Errorf("%w: the target does not serve it", ErrUnavailable)
	default:
		v.Plan, v.Err = c.Transport.Plan(mem)
	}
	return v
}

func why(want string, p Plan) Reason {
	switch {
	case p.Why != WhyBest:
		return p.Why
	case p.Path.Direct():
		return WhyBest
	case want != Auto:
		return WhyRequested
	}
	return WhyNoDirect
}

func (s Selection) refusal(want string) error {
	names := make([]string, 0, len(s.Verdicts))
	lines := make([]string, 0, len(s.Verdicts))
	for _, v := range s.Verdicts {
		names = append(names, v.Name)
		if v.Err != nil && (want == Auto || want == v.Name) {
			lines = append(lines, fmt.Sprintf("%s: %v", v.Name, v.Err))
		}
	}
	if want != Auto && !slices.Contains(names, want) {
		return fmt.Errorf("%w: no transport is called %q; there are %s and %s", ErrUnavailable, want, strings.Join(names, ", "), Auto)
	}
	return fmt.Errorf("%w: %s", ErrUnavailable, strings.Join(lines, "; "))
}
