package transport

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"hbmfs/fs/uapi"
)

// Auto is the --transport value that takes the most direct usable candidate.
const Auto = "auto"

// Candidate is a transport that a mount might use, with its most direct path. Where
// it may not, or this host or this build has none of that name, Err says why and
// what to do; Transport may be nil then.
type Candidate struct {
	Name      string
	Path      uapi.Path
	Transport Transport
	Err       error
}

// Verdict is what is known of one candidate. Err is nil if it is usable, and
// otherwise names the probe that refused it. If a memory was given to it, it is
// Chosen, with the Plan and the reason for the latest.
type Verdict struct {
	Name   string
	Path   uapi.Path
	Plan   Plan
	Why    uapi.Reason
	Err    error
	Chosen bool

	tried  bool // a memory was planned
	barred bool // not to be asked again
}

// Selection is the candidates that a mount may use. It decides which of them serves
// a memory. Its methods may be called concurrently.
type Selection struct {
	want   string
	direct bool // no other path will do

	mu       sync.Mutex // guards all below; not held while a candidate is asked
	verdicts []Verdict
}

// Select returns what is left of the candidates: of those that the target serves, all
// for [Auto], else the one that want names. With requireDirect, a path that is not
// [uapi.Path.Direct] is refused. If none is left, the error wraps [ErrUnavailable],
// and [ErrNotDirect] if that was required, and lists every candidate with what
// refused it.
func Select(want string, requireDirect bool, served []string, candidates []Candidate) (*Selection, error) {
	s := &Selection{want: want, direct: requireDirect}
	for _, c := range candidates {
		err := s.bar(c, served)
		s.verdicts = append(s.verdicts, Verdict{Name: c.Name, Path: c.Path, Err: err, barred: err != nil})
	}
	if !slices.ContainsFunc(s.verdicts, func(v Verdict) bool { return !v.barred }) {
		return nil, s.refusal(s.verdicts)
	}
	return s, nil
}

// bar returns why c may be asked for no memory.
func (s *Selection) bar(c Candidate, served []string) error {
	switch {
	case c.Err != nil:
		return c.Err
	case s.want != Auto && s.want != c.Name:
		return fmt.Errorf("%w: not asked for (--transport %s)", ErrUnavailable, s.want)
	case !slices.Contains(served, c.Name):
		return fmt.Errorf("%w: the target does not serve it", ErrUnavailable)
	}
	return s.admit(Plan{Path: c.Path})
}

// admit returns an error if p's path will not do.
func (s *Selection) admit(p Plan) error {
	if !s.direct || p.Path.Direct() {
		return nil
	}
	why := ""
	if p.Why != uapi.WhyBest {
		why = fmt.Sprintf(" (%v)", p.Why)
	}
	return fmt.Errorf("%w: its path is %q%s, and --require-direct refuses it", ErrUnavailable, p.Path, why)
}

// Verdicts returns what is known of the candidates, by their numbers.
func (s *Selection) Verdicts() []Verdict {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.verdicts)
}

// Settle ends the time in which candidates are found usable: those that refused every
// memory are not asked again. Those that were asked for none yet are by plan, with
// their number.
func (s *Selection) Settle(plan func(number int) (Plan, error)) {
	all := s.Verdicts()
	for i := range all {
		v := &all[i]
		if !v.tried && !v.barred {
			v.Plan, v.Err = plan(i)
		}
		v.barred = v.Err != nil
	}
	s.publish(all)
}

// publish makes all known. What serves a memory is usable, whatever another one is
// refused for.
func (s *Selection) publish(all []Verdict) {
	for i := range all {
		if all[i].Chosen {
			all[i].Err = nil
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.verdicts = all
}

// refusal is the error where no candidate will do.
func (s *Selection) refusal(verdicts []Verdict) error {
	names := make([]string, 0, len(verdicts))
	lines := make([]string, 0, len(verdicts))
	for _, v := range verdicts {
		names = append(names, v.Name)
		if v.Err != nil && (s.want == Auto || s.want == v.Name) {
			lines = append(lines, v.Name+": "+strings.TrimPrefix(v.Err.Error(), ErrUnavailable.Error()+": "))
		}
	}
	if s.want != Auto && !slices.Contains(names, s.want) {
		return fmt.Errorf("%w: no transport is called %q; there are %s and %s", ErrUnavailable, s.want, strings.Join(names, ", "), Auto)
	}
	err := fmt.Errorf("%w: %s", ErrUnavailable, strings.Join(lines, "; "))
	if s.direct {
		return fmt.Errorf("%w: %w", ErrNotDirect, err)
	}
	return err
}
