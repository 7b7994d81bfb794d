package integration

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// littleSet makes bench loader take the least data set of all: 8 files of 323 kB.
var littleSet = []string{"--workload", "retinanet", "--scale", "1e-9"}

// epochReport is what scripts read of `hbmfs bench loader --json`.
type epochReport struct {
	Via, Path        string
	Epoch            int
	Samples, Bytes   int64
	Segments, Hits   int64
	HitRatio         *float64 `json:"hit_ratio"`
	Amplification    *float64
	AU               *float64
	SamplesPerSecond float64 `json:"samples_per_second"`

	Workload string
	Files    int
	Checked  bool
	Summary  []epochReport
}

// benchLoader runs it, with TMPDIR at tmp, and returns its objects.
func benchLoader(t *testing.T, tmp string, args ...string) (all []epochReport, stderr string, code int) {
	t.Helper()
	var out, complaint bytes.Buffer
	cmd := exec.Command(bin, append([]string{"bench", "loader", "--json"}, args...)...)
	cmd.Env = append(os.Environ(), "TMPDIR="+tmp)
	cmd.Stdout, cmd.Stderr = &out, &complaint
	_ = cmd.Run() // ProcessState tells
	for d := json.NewDecoder(&out); d.More(); {
		var r epochReport
		must(t, d.Decode(&r))
		all = append(all, r)
	}
	return all, complaint.String(), cmd.ProcessState.ExitCode()
}

// checkNothingLeft fails the test if anything is mounted below tmp, or left there.
func checkNothingLeft(t *testing.T, tmp string) {
	t.Helper()
	if bytes.Contains(mustRead(t, "/proc/self/mountinfo"), []byte(" "+tmp)) {
		t.Errorf("something is mounted below %s", tmp)
	}
	if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
		t.Errorf("%s has %v, %v", tmp, left, err)
	}
}

// TestBenchLoader: a data set is made, mounted for each way and played, and is
// resident in the second epoch; nothing of it stays but the data set.
func TestBenchLoader(t *testing.T) {
	const epochs = 2
	dir, tmp := t.TempDir(), t.TempDir()
	svg := filepath.Join(dir, "plot.svg")
	args := append([]string{"--make", dir, "--via", "all", "--epochs", fmt.Sprint(epochs), "--svg", svg}, littleSet...)
	for i := range 2 { // the second time, the data set is there
		all, stderr, code := benchLoader(t, tmp, args...)
		if told := strings.Contains(stderr, "making 8 files of retinanet"); code != 0 || told != (i == 0) || stderr != "" && !told || len(all) != 4*epochs+1 {
			t.Fatalf("exit code %d, %d objects: %s", code, len(all), stderr)
		}
		for i, e := range all[:4*epochs] {
			via, epoch := []string{"ioctl", "batch", "ring", "read"}[i%4], 1+i/4
			device := via != "read"
			if e.Via != via || e.Epoch != epoch || e.Samples != 8 || e.Bytes != 8*322_957 || *e.AU <= 0 || *e.AU > 1 || e.SamplesPerSecond <= 0 {
				t.Errorf("object %d: %+v", i, e)
			}
			if (e.HitRatio != nil) != device || (e.Path == "host") != device {
				t.Errorf("only FETCH knows of hits, and paths: %+v", e)
			}
			if cold := epoch == 1; device && (*e.HitRatio == 0) != cold || device && *e.HitRatio != 0 && *e.HitRatio != 1 {
				t.Errorf("epoch %d: hit ratio %v", epoch, *e.HitRatio)
			}
			if device && *e.Amplification != float64(2-epoch) || *e.Amplification > 1.5 {
				t.Errorf("via %s, epoch %d: amplification %v", via, epoch, *e.Amplification)
			}
		}
		sum := all[4*epochs]
		if sum.Workload != "retinanet" || sum.Files != 8 || !sum.Checked || len(sum.Summary) != 4 || sum.Summary[0].Samples != 8*epochs || *sum.Summary[0].HitRatio != 0.5 {
			t.Errorf("the summary: %+v", sum)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) != 2 {
			t.Errorf("the data set and the plot were made: %v, %v", left, err)
		}
		checkNothingLeft(t, tmp)
		if plot := mustRead(t, svg); !bytes.HasPrefix(plot, []byte("<svg")) {
			t.Errorf("the plot begins with %.20q", plot)
		}
	}
	if out, code := command(t, append([]string{"bench", "loader", "--make", dir, "--epochs", "1"}, littleSet...)...); code != 0 || !strings.Contains(out, "SAMPLES/S") {
		t.Errorf("as text: exit code %d\n%s", code, out)
	}
}

// TestBenchLoaderOfMount: a mount's files are played: those of a data set that was
// made are checked, by each way, and others are not.
func TestBenchLoaderOfMount(t *testing.T) {
	dir, tmp := t.TempDir(), t.TempDir()
	if _, stderr, code := benchLoader(t, tmp, append([]string{"--make", dir, "--epochs", "1"}, littleSet...)...); code != 0 {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	_, addr := startTarget(t, "127.0.0.1:0", "set="+dir)
	play := func(place string, via string) ([]epochReport, string, int) {
		return benchLoader(t, tmp, append([]string{place, "--epochs", "1", "--via", via}, littleSet...)...)
	}
	m := startMount(t, addr+"/set")
	all, stderr, code := play(m.dir, "all")
	if code != 0 || len(all) != 5 || !all[4].Checked || all[0].Path != how["tcp"].path.String() {
		t.Errorf("exit code %d: %+v, %s", code, all, stderr)
	}
	all, stderr, code = play(m.path("retinanet/0000"), "all") // where the mark is out of sight
	if code != 0 || len(all) != 5 || all[4].Checked || all[4].Files != 8 {
		t.Errorf("exit code %d: %+v, %s", code, all, stderr)
	}
	f := mustOpen(t, filepath.Join(dir, "retinanet/0000/0000005"), os.O_RDWR)
	_, err := f.WriteAt([]byte("wrong"), 0)
	must(t, err)
	must(t, f.Close())
	for _, via := range []string{"ioctl", "batch", "ring", "read"} {
		if all, stderr, code := play(m.dir, via); code != 3 || len(all) != 0 || !strings.Contains(stderr, "0000005") {
			t.Errorf("a wrong word, via %s: exit code %d: %+v, %s", via, code, all, stderr)
		}
	}
	if all, stderr, code := benchLoader(t, tmp, "--make", dir, "--workload", "retinanet", "--scale", "1e-9", "--via", "ioctl"); code != 3 || len(all) != 0 || !strings.Contains(stderr, dir+"/retinanet/0000/0000005: ") || !strings.Contains(stderr, "delete it, and") {
		t.Errorf("a wrong word of a set that is mounted for it: exit code %d: %+v, %s", code, all, stderr)
	}
	if all, stderr, code := benchLoader(t, tmp, m.path("retinanet/0000"), "--workload", "custom", "--sample", "1KiB", "--epochs", "1"); code != 0 || len(all) != 2 || all[1].Files != 8 {
		t.Errorf("all files, if no scale is given: exit code %d: %+v, %s", code, all, stderr)
	}
	if _, stderr, code := play(m.path("retinanet/0000/0000001"), "all"); code != 2 || strings.Count(stderr, "--help") != 1 {
		t.Errorf("a file: exit code %d: %s", code, stderr)
	}
	if _, stderr, code := play(m.path("none"), "all"); code != 1 {
		t.Errorf("nothing there: exit code %d: %s", code, stderr)
	}
	if all, stderr, code := benchLoader(t, tmp, append([]string{m.dir, "--svg", filepath.Join(tmp, "none", "x")}, littleSet...)...); code != 1 || len(all) != 0 || !strings.Contains(stderr, "--svg") {
		t.Errorf("a plot that can't be written: exit code %d: %+v, %s", code, all, stderr)
	}
	m.awaitLeases(0)
}

// TestBenchLoaderEnds: a signal ends it, and its mounts with it.
func TestBenchLoaderEnds(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		dir, tmp := t.TempDir(), t.TempDir()
		cmd := exec.Command(bin, append([]string{"bench", "loader", "--make", dir, "--via", "all", "--epochs", "10000"}, littleSet...)...)
		cmd.Env = append(os.Environ(), "TMPDIR="+tmp)
		p := start(t, cmd)
		p.line("SAMPLES/S")
		p.line("read")
		p.kill(sig)
		if code := p.ProcessState.ExitCode(); code != 128+int(sig) {
			t.Errorf("%v: exit code %d", sig, code)
		}
		checkNothingLeft(t, tmp)
	}
}

// warmReport is what scripts read of `hbmfs warm --json`.
type warmReport struct {
	Files, Failed, Bytes, Segments, Hits, Evicted, Skipped int64
	Stopped                                                bool
}

func parseWarm(t *testing.T, out string) (r warmReport) {
	t.Helper()
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("hbmfs warm --json: %v\n%s", err, out)
	}
	return r
}

// TestWarm: what was brought is there for who fetches it.
func TestWarm(t *testing.T) {
	const files, size = 12, 2*extent + 100
	src := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(src, "deep/er"), 0o755))
	for i := range files {
		writeNumbered(t, filepath.Join(src, []string{"", "deep", "deep/er"}[i%3]), i, size)
	}
	for via, source := range sources(t, src) {
		m := startMount(t, source, small(3*files)...)
		out, code := command(t, "warm", "--json", m.dir)
		if r := parseWarm(t, out); code != 0 || r.Files != files || r.Bytes != files*size || r.Hits != 0 || r.Evicted != 0 {
			t.Errorf("%s: exit code %d, %+v", via, code, r)
		}
		for _, name := range []string{"0", "deep/1", "deep/er/2", "deep/er/11"} {
			all, code := readJSON(t, "--verify", m.path(name))
			if code != 0 || *all[0].Segments != 3 || *all[0].Mismatches != 0 {
				t.Errorf("%s, %s: exit code %d, %+v", via, name, code, all)
			}
		}
		if s := m.stats().Cache; s.Misses != 3*files || s.Evictions != 0 {
			t.Errorf("%s: %d misses, %d evictions; all was brought once", via, s.Misses, s.Evictions)
		}
		out, code = command(t, "warm", "--json", m.path("0"), m.path("none.such"))
		if code != 1 || !strings.Contains(out, `"files":1,"failed":1`) {
			t.Errorf("%s: a path that is not there: exit code %d, %s", via, code, out)
		}
		m.awaitLeases(0)
	}
}

// TestWarmTooMuch: what the pool can't hold is refused before anything is brought, or
// told once it shows: small files may take more of the pool than they have.
func TestWarmTooMuch(t *testing.T) {
	src := t.TempDir()
	for i := range 8 {
		writeNumbered(t, src, i, extent)
	}
	m := startMount(t, src, small(4)...)
	cmd := exec.Command(bin, "warm", m.dir)
	out, err := cmd.CombinedOutput()
	if want := fmt.Sprintf("(%d bytes); mount with a larger --pool", 8*extent); err == nil || !bytes.Contains(out, []byte(want)) || bytes.Contains(out, []byte("nothing to fetch")) {
		t.Errorf("%v: %s", err, out)
	}
	if n := m.stats().Cache.Misses; n != 0 {
		t.Errorf("%d extents were brought all the same", n)
	}
	src = t.TempDir()
	for i := range 8 {
		writeNumbered(t, src, i, extent*3/5)
	}
	m = startMount(t, src, small(5)...)
	out, err = exec.Command(bin, "warm", m.dir).CombinedOutput()
	evicted := m.stats().Cache.Evictions
	if told := bytes.Contains(out, fmt.Appendf(nil, "%d extents of 8 made room again", evicted)); (evicted > 0) != (err != nil) || told != (err != nil) {
		t.Errorf("%d evictions, %v: %s", evicted, err, out)
	}
}

// TestWarmFollowsOrder: a window ahead of the reader is brought, and no more, also if
// that makes room of what he has behind him.
func TestWarmFollowsOrder(t *testing.T) {
	const window = 2
	src, order := t.TempDir(), filepath.Join(t.TempDir(), "order")
	writeNumbered(t, src, 1, 16*extent)
	var lines strings.Builder
	for i := range 8 {
		fmt.Fprintf(&lines, "1 %d %d\n", 2*i*extent, extent)
	}
	must(t, os.WriteFile(order, []byte(lines.String()), 0o644))
	m := startMount(t, src, small(window+1)...)
	r, w, err := os.Pipe()
	must(t, err)
	cmd := exec.Command(bin, "warm", "--json", "--follow-order", order, "--window", fmt.Sprint(window*extent), m.dir)
	cmd.Stdin = r
	p := start(t, cmd)
	must(t, r.Close())
	brought := func(want int64) {
		t.Helper()
		eventually(t, fmt.Sprintf("%d lines are brought", want), func() error {
			if n := m.stats().Cache.Misses; n != want {
				return fmt.Errorf("%d are", n)
			}
			return nil
		})
	}
	brought(window)
	_, err = io.WriteString(w, "1\n")
	must(t, err)
	brought(window + 1)
	_, err = io.WriteString(w, "4\n") // so the fourth is late
	must(t, err)
	brought(window + 3)
	must(t, w.Close())
	report := parseWarm(t, p.line("files"))
	<-p.done
	if p.err != nil || report.Files != 5 || report.Skipped != 1 || !report.Stopped {
		t.Errorf("%v: %+v", p.err, report)
	}
	if n := m.stats().Cache.Evictions; n != 2 {
		t.Errorf("%d extents made room, want 2", n)
	}
	for stdin, want := range map[string]bool{"1 0 10\nnone\n\n1\n": true, "1 999999999 10\n": true, "1 0 10\n1 x 10\n": false, "../x\n": false} {
		cmd := exec.Command(bin, "warm", "--json", "--follow-order", "-", m.dir)
		cmd.Stdin = bufio.NewReader(strings.NewReader(stdin))
		out, err := cmd.Output()
		if said := len(out) > 0 && parseWarm(t, string(out)).Failed == 1; err == nil || said != want {
			t.Errorf("%q: %v: %s", stdin, explain(err), out)
		}
	}
}

// TestWarmEndedWithItsReader: a signal that ends a reader and warm together is told,
// though the end of the reader's words alone is no failure.
func TestWarmEndedWithItsReader(t *testing.T) {
	src, order := t.TempDir(), filepath.Join(t.TempDir(), "order")
	writeNumbered(t, src, 1, 4*extent)
	must(t, os.WriteFile(order, fmt.Appendf(nil, "1 0 %d\n1 %d %d\n", extent, extent, extent), 0o644))
	m := startMount(t, src, small(3)...)
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		r, w, err := os.Pipe()
		must(t, err)
		cmd := exec.Command(bin, "warm", "--follow-order", order, "--window", fmt.Sprint(extent), m.dir)
		cmd.Stdin = r
		misses := m.stats().Cache.Hits + m.stats().Cache.Misses
		p := start(t, cmd)
		must(t, r.Close())
		eventually(t, "the window is full", func() error {
			if s := m.stats().Cache; s.Hits+s.Misses == misses {
				return errors.New("nothing came")
			}
			return nil
		})
		must(t, w.Close())
		p.kill(sig)
		if code := p.ProcessState.ExitCode(); code != 128+int(sig) {
			t.Errorf("%v: exit code %d", sig, code)
		}
	}
}

// TestWarmPaths: paths that make no sense together are refused before anything is
// brought, and one that may not be read stops no other.
func TestWarmPaths(t *testing.T) {
	src := t.TempDir()
	for i := range 2 {
		writeNumbered(t, src, i, extent)
	}
	m, other := startMount(t, src, small(4)...), startMount(t, src, small(4)...)
	for _, args := range [][]string{{m.path("0"), other.path("1")}, {m.path("0"), src}, {"--follow-order", "/dev/null", m.path("0")}} {
		if out, code := command(t, append([]string{"warm"}, args...)...); code != 2 || out != "" {
			t.Errorf("%q: exit code %d, %s", args, code, out)
		}
	}
	if s := m.stats().Cache; s.Misses != 0 {
		t.Errorf("%d extents were brought all the same", s.Misses)
	}
	must(t, os.Chmod(filepath.Join(src, "0"), 0))
	if os.Geteuid() != 0 {
		return
	}
	const nobody = 65534
	must(t, os.Mkdir(filepath.Join(src, "closed"), 0o700))
	m = startMount(t, src, append(small(4), "--allow-other")...)
	for failed, paths := range map[int64][]string{1: {m.path("0"), m.path("1")}, 2: {m.dir}} {
		cmd := exec.Command(bin, append([]string{"warm", "--json"}, paths...)...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		cmd.Dir = "/"
		out, _ := cmd.Output() // ProcessState tells
		if r := parseWarm(t, string(out)); cmd.ProcessState.ExitCode() != 1 || r.Files != 1 || r.Failed != failed {
			t.Errorf("%q, of which not all may be read: %v, %+v", paths, cmd.ProcessState, r)
		}
	}
}
