package transport_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"hbmfs/transport"
)

// fakeTransport only plans.
type fakeTransport struct {
	name string
	plan transport.Plan
	err  error
	asks *int // counts Plans, if not nil
}

func (f fakeTransport) Name() string { return f.name }
func (f fakeTransport) Plan(transport.Memory) (transport.Plan, error) {
	if f.asks != nil {
		*f.asks++
	}
	return f.plan, f.err
}
func (f fakeTransport) Dial(context.Context, transport.Session) (transport.Link, error) {
	return nil, transport.ErrUnavailable
}

func candidate(name string, path transport.Path, why transport.Reason, planErr error) transport.Candidate {
	t := fakeTransport{name: name, plan: transport.Plan{Path: path, Why: why}, err: planErr}
	return transport.Candidate{Name: name, Path: path, Transport: t}
}

var errProbe = errors.New("ibv_reg_dmabuf_mr: operation not supported")

func TestSelect(t *testing.T) {
	rdma := candidate("rdma", transport.PathRDMA, transport.WhyBest, nil)
	brokenRDMA := candidate("rdma", transport.PathRDMA, transport.WhyBest, fmt.Errorf("%w: %w", transport.ErrUnavailable, errProbe))
	noRDMA := transport.Candidate{Name: "rdma", Path: transport.PathRDMA, Err: errors.New("not in this build")}
	tcp := candidate("tcp", transport.PathStaged, transport.WhyBest, nil)
	tcp2 := candidate("tcp2", transport.PathStaged, transport.WhyBest, nil)
	inproc := candidate("inproc", transport.PathHost, transport.WhyLocalSource, nil)
	all := []string{"rdma", "tcp", "tcp2", "inproc"}
	for _, c := range []struct {
		what       string
		want       string
		direct     bool
		served     []string
		candidates []transport.Candidate
		chosen     string
		why        transport.Reason
		texts      []string // in the refusal
	}{
		{"the most direct", transport.Auto, false, all, []transport.Candidate{tcp, rdma, inproc}, "rdma", transport.WhyBest, nil},
		{"the first of equals", transport.Auto, false, all, []transport.Candidate{tcp2, tcp}, "tcp2", transport.WhyNoDirect, nil},
		{"a fallback is told", transport.Auto, false, all, []transport.Candidate{brokenRDMA, tcp}, "tcp", transport.WhyNoDirect, nil},
		{"what is not in the build", transport.Auto, false, all, []transport.Candidate{noRDMA, tcp}, "tcp", transport.WhyNoDirect, nil},
		{"what the target lacks", transport.Auto, false, []string{"tcp"}, []transport.Candidate{rdma, tcp}, "tcp", transport.WhyNoDirect, nil},
		{"asked for", "tcp", false, all, []transport.Candidate{rdma, tcp}, "tcp", transport.WhyRequested, nil},
		{"the plan's own reason", transport.Auto, false, all, []transport.Candidate{inproc}, "inproc", transport.WhyLocalSource, nil},
		{"direct, and required", transport.Auto, true, all, []transport.Candidate{tcp, rdma}, "rdma", transport.WhyBest, nil},
		{"required in vain", transport.Auto, true, all, []transport.Candidate{brokenRDMA, tcp}, "", 0,
			[]string{"rdma: ", errProbe.Error(), "tcp: ", "--require-direct"}},
		{"asked for and broken", "rdma", false, all, []transport.Candidate{brokenRDMA, tcp}, "", 0, []string{errProbe.Error()}},
		{"asked for and not served", "rdma", false, nil, []transport.Candidate{rdma}, "", 0, []string{"the target does not serve it"}},
		{"no such name", "carrier-pigeon", false, all, []transport.Candidate{rdma, tcp}, "", 0, []string{"carrier-pigeon", "rdma, tcp", transport.Auto}},
	} {
		s, err := transport.Select(c.want, c.direct, c.served, transport.HostMemory{}, c.candidates)
		if len(s.Verdicts) != len(c.candidates) {
			t.Errorf("%s: %d verdicts on %d candidates", c.what, len(s.Verdicts), len(c.candidates))
		}
		if c.chosen == "" {
			refused(t, c.what, s, err, c.texts)
			continue
		}
		if err != nil || s.Transport.Name() != c.chosen || s.Why != c.why {
			t.Errorf("%s: %+v, %v", c.what, s, err)
		}
		for _, v := range s.Verdicts {
			if v.Chosen != (v.Name == c.chosen) || v.Chosen && v.Plan != s.Plan {
				t.Errorf("%s: verdict %+v", c.what, v)
			}
		}
	}
}

// TestSelectProbesWhatIsWanted: a probe may take something from others for a while.
func TestSelectProbesWhatIsWanted(t *testing.T) {
	asks := 0
	rdma := candidate("rdma", transport.PathRDMA, transport.WhyBest, nil)
	rdma.Transport = fakeTransport{name: "rdma", asks: &asks}
	tcp := candidate("tcp", transport.PathStaged, transport.WhyBest, nil)
	s, err := transport.Select("tcp", false, []string{"rdma", "tcp"}, transport.HostMemory{}, []transport.Candidate{rdma, tcp})
	if err != nil || asks != 0 {
		t.Fatalf("%d probes, %v", asks, err)
	}
	if v := s.Verdicts[0]; !errors.Is(v.Err, transport.ErrUnavailable) || !strings.Contains(v.Err.Error(), "not asked for (--transport tcp)") {
		t.Errorf("%+v", v)
	}
}

func refused(t *testing.T, what string, s transport.Selection, err error, texts []string) {
	t.Helper()
	if !errors.Is(err, transport.ErrUnavailable) || s.Transport != nil {
		t.Errorf("%s: %+v, %v", what, s, err)
		return
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%s: %q is not in: %v", what, text, err)
		}
	}
}

func TestNames(t *testing.T) {
	for p := transport.PathNone; p <= transport.PathRDMA; p++ {
		if direct := p == transport.PathRDMA || p == transport.PathDevmemTCP; p.Direct() != direct {
			t.Errorf("%v is direct: %t", p, p.Direct())
		}
	}
	for got, want := range map[fmt.Stringer]string{
		transport.PathStaged:      "staged",
		transport.Path(77):        "path(77)",
		transport.WhyPlainRead:    "plain read",
		transport.Reason(77):      "reason(77)",
		transport.PathRDMA:        "rdma",
		transport.WhyLocalSource:  "source is local to the mount",
		transport.PathDevmemTCP:   "devmem-tcp",
		transport.WhyRequested:    "asked for by --transport",
		transport.PathHost:        "host",
		transport.WhyNoDirect:     "no direct transport usable",
		transport.PathNone:        "none",
		transport.Reason(1 << 15): "reason(32768)",
	} {
		if got.String() != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
