package transport_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"hbmfs/fs/uapi"
	"hbmfs/transport"
)

// fake is a candidate, and what it says of a memory before and when there is a link.
type fake struct {
	transport.Candidate
	planned, attached transport.Plan
	planErr           error
	asked, dialled    int
}

func candidate(name string, path uapi.Path, why uapi.Reason, planErr error) *fake {
	p := transport.Plan{Path: path, Why: why}
	return &fake{Candidate: transport.Candidate{Name: name, Path: path}, planned: p, attached: p, planErr: planErr}
}

// choose selects, and chooses for one memory.
func choose(want string, direct bool, served []string, fakes []*fake) (*transport.Selection, transport.Choice, error) {
	var candidates []transport.Candidate
	for _, f := range fakes {
		candidates = append(candidates, f.Candidate)
	}
	s, err := transport.Select(want, direct, served, candidates)
	if err != nil {
		return nil, transport.Choice{Number: -1}, err
	}
	c, err := chooseBy(s, fakes)
	return s, c, err
}

func chooseBy(s *transport.Selection, fakes []*fake) (transport.Choice, error) {
	return s.Choose(func(n int) (transport.Plan, error) {
		fakes[n].asked++
		return fakes[n].planned, fakes[n].planErr
	}, func(n int) (transport.Plan, error) {
		fakes[n].dialled++
		return fakes[n].attached, nil
	})
}

var errProbe = errors.New("ibv_reg_dmabuf_mr: operation not supported")

func TestSelect(t *testing.T) {
	rdma := candidate("rdma", uapi.PathRDMA, uapi.WhyBest, nil)
	brokenRDMA := candidate("rdma", uapi.PathRDMA, uapi.WhyBest, fmt.Errorf("%w: %w", transport.ErrUnavailable, errProbe))
	noRDMA := &fake{Candidate: transport.Candidate{Name: "rdma", Path: uapi.PathRDMA, Err: errors.New("not in this build")}}
	devmem := candidate("devmem", uapi.PathDevmemTCP, uapi.WhyBest, nil)
	noPlan := candidate("rdma", uapi.PathRDMA, uapi.WhyBest, nil) // it says so without a link
	noPlan.planned = transport.Plan{Path: uapi.PathStaged, Why: uapi.WhyNotRegistered}
	noPlan.attached = noPlan.planned
	noLink := candidate("rdma", uapi.PathRDMA, uapi.WhyBest, nil) // its link does
	noLink.attached = noPlan.planned
	tcp := candidate("tcp", uapi.PathStaged, uapi.WhyBest, nil)
	tcp2 := candidate("tcp2", uapi.PathStaged, uapi.WhyBest, nil)
	inproc := candidate("inproc", uapi.PathHost, uapi.WhyLocalSource, nil)
	all := []string{"rdma", "devmem", "tcp", "tcp2", "inproc"}
	for _, c := range []struct {
		what       string
		want       string
		direct     bool
		served     []string
		candidates []*fake
		chosen     string
		why        uapi.Reason
		texts      []string // in the refusal
	}{
		{"the most direct", transport.Auto, false, all, []*fake{tcp, rdma, inproc}, "rdma", uapi.WhyBest, nil},
		{"the first of equals", transport.Auto, false, all, []*fake{tcp2, tcp}, "tcp2", uapi.WhyNoDirect, nil},
		{"a fallback is told", transport.Auto, false, all, []*fake{brokenRDMA, tcp}, "tcp", uapi.WhyNoDirect, nil},
		{"what is not in the build", transport.Auto, false, all, []*fake{noRDMA, tcp}, "tcp", uapi.WhyNoDirect, nil},
		{"what the target lacks", transport.Auto, false, []string{"tcp"}, []*fake{rdma, tcp}, "tcp", uapi.WhyNoDirect, nil},
		{"asked for", "tcp", false, all, []*fake{rdma, tcp}, "tcp", uapi.WhyRequested, nil},
		{"the plan's own reason", transport.Auto, false, all, []*fake{inproc}, "inproc", uapi.WhyLocalSource, nil},
		{"direct, and required", transport.Auto, true, all, []*fake{tcp, rdma}, "rdma", uapi.WhyBest, nil},
		{"planned less directly", transport.Auto, false, all, []*fake{noPlan, devmem, tcp}, "devmem", uapi.WhyNotRegistered, nil},
		{"attached less directly", transport.Auto, false, all, []*fake{noLink, devmem, tcp}, "devmem", uapi.WhyNotRegistered, nil},
		{"equal then", transport.Auto, false, all, []*fake{noLink, tcp}, "rdma", uapi.WhyNotRegistered, nil},
		{"attached less directly, and required", transport.Auto, true, all, []*fake{noLink, tcp}, "", 0,
			[]string{"rdma: its path is \"staged\" (" + uapi.WhyNotRegistered.String() + ")", "tcp: its path is \"staged\""}},
		{"required in vain", transport.Auto, true, all, []*fake{brokenRDMA, tcp}, "", 0,
			[]string{"rdma: ", errProbe.Error(), "tcp: ", "--require-direct"}},
		{"asked for and broken", "rdma", false, all, []*fake{brokenRDMA, tcp}, "", 0, []string{errProbe.Error()}},
		{"asked for and not served", "rdma", false, nil, []*fake{rdma}, "", 0, []string{"the target does not serve it"}},
		{"no such name", "carrier-pigeon", false, all, []*fake{rdma, tcp}, "", 0, []string{"carrier-pigeon", "rdma, tcp", transport.Auto}},
	} {
		s, choice, err := choose(c.want, c.direct, c.served, c.candidates)
		if c.chosen == "" {
			refused(t, c.what, err, c.direct, c.texts)
			continue
		}
		if err != nil || c.candidates[choice.Number].Name != c.chosen || choice.Why != c.why {
			t.Errorf("%s: %+v, %v", c.what, choice, err)
			continue
		}
		for _, v := range s.Verdicts() {
			if v.Chosen != (v.Name == c.chosen) || v.Chosen && (v.Plan != choice.Plan || v.Why != c.why || v.Err != nil) {
				t.Errorf("%s: verdict %+v", c.what, v)
			}
		}
	}
	if noPlan.dialled != 0 {
		t.Error("dialled for less than another does")
	}
}

func refused(t *testing.T, what string, err error, direct bool, texts []string) {
	t.Helper()
	if !errors.Is(err, transport.ErrUnavailable) || errors.Is(err, transport.ErrNotDirect) != direct {
		t.Errorf("%s: %v", what, err)
		return
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%s: %q is not in: %v", what, text, err)
		}
	}
}

// TestSelectProbesWhatIsWanted: a probe may take something from others for a while.
func TestSelectProbesWhatIsWanted(t *testing.T) {
	rdma, tcp := candidate("rdma", uapi.PathRDMA, uapi.WhyBest, nil), candidate("tcp", uapi.PathStaged, uapi.WhyBest, nil)
	s, _, err := choose("tcp", false, []string{"rdma", "tcp"}, []*fake{rdma, tcp})
	if err != nil || rdma.asked != 0 {
		t.Fatalf("%d probes, %v", rdma.asked, err)
	}
	if v := s.Verdicts()[0]; !errors.Is(v.Err, transport.ErrUnavailable) || !strings.Contains(v.Err.Error(), "not asked for (--transport tcp)") {
		t.Errorf("%+v", v)
	}
}

// TestSettle: who refused all memory is not asked again, and who was not asked is once.
func TestSettle(t *testing.T) {
	broken := candidate("broken", uapi.PathRDMA, uapi.WhyBest, transport.ErrUnavailable)
	rdma, devmem, tcp := candidate("rdma", uapi.PathRDMA, uapi.WhyBest, nil), candidate("devmem", uapi.PathDevmemTCP, uapi.WhyBest, nil),
		candidate("tcp", uapi.PathStaged, uapi.WhyBest, nil)
	fakes := []*fake{broken, rdma, devmem, tcp}
	s, _, err := choose(transport.Auto, false, []string{"broken", "rdma", "devmem", "tcp"}, fakes)
	if err != nil {
		t.Fatal(err)
	}
	s.Settle(func(n int) (transport.Plan, error) {
		if n < 2 {
			t.Errorf("%s is asked again", fakes[n].Name)
		}
		if n == 2 {
			return transport.Plan{}, errProbe
		}
		return fakes[n].planned, nil
	})
	if v := s.Verdicts(); v[0].Err == nil || v[1].Err != nil || v[2].Err == nil || v[3].Err != nil || v[3].Chosen {
		t.Errorf("%+v", v)
	}
	broken.planErr = nil
	rdma.attached = transport.Plan{Path: uapi.PathHost}
	choice, err := chooseBy(s, fakes)
	if err != nil || choice.Number != 3 || broken.asked != 1 || devmem.asked != 0 {
		t.Errorf("%+v, %v", choice, err)
	}
	if v := s.Verdicts(); !v[1].Chosen || !v[3].Chosen {
		t.Errorf("%+v", v)
	}
}

// TestChoiceEnds with what is no candidate's own to refuse.
func TestChoiceEnds(t *testing.T) {
	for _, cause := range []error{transport.ErrConnLost, fmt.Errorf("%w: %w", transport.ErrUnavailable, transport.ErrRevoked)} {
		rdma, tcp := candidate("rdma", uapi.PathRDMA, uapi.WhyBest, cause), candidate("tcp", uapi.PathStaged, uapi.WhyBest, nil)
		if _, _, err := choose(transport.Auto, false, []string{"rdma", "tcp"}, []*fake{rdma, tcp}); !errors.Is(err, cause) || tcp.asked != 0 {
			t.Errorf("%v", err)
		}
	}
}
