package main

import (
	"errors"
	"strings"
	"testing"
)

// stream is what go test -json writes of three packages, two of them at once.
const stream = `{"Action":"start","Package":"hbmfs/a"}
{"Action":"output","Package":"hbmfs/a","Test":"TestGood","Output":"=== RUN   TestGood\n"}
{"Action":"output","Package":"hbmfs/b","Test":"TestBad","Output":"=== RUN   TestBad\n"}
{"Action":"output","Package":"hbmfs/a","Test":"TestGood","Output":"    a_test.go:1: fine\n"}
{"Action":"output","Package":"hbmfs/b","Test":"TestBad","Output":"    b_test.go:7: wrong byte\n"}
{"Action":"output","Package":"hbmfs/b","Test":"TestBad","Output":"--- FAIL: TestBad (0.00s)\n"}
{"Action":"fail","Package":"hbmfs/b","Test":"TestBad"}
{"Action":"pass","Package":"hbmfs/a","Test":"TestGood"}
{"Action":"output","Package":"hbmfs/a","Test":"TestTool/x","Output":"    a_test.go:9: unsupported: no rsync: package rsync\n"}
{"Action":"skip","Package":"hbmfs/a","Test":"TestTool/x"}
{"Action":"output","Package":"hbmfs/a","Output":"PASS\n"}
{"Action":"output","Package":"hbmfs/a","Output":"ok  \thbmfs/a\t0.1s\n"}
{"Action":"pass","Package":"hbmfs/a"}
{"Action":"pass","Package":"hbmfs/a","Test":"TestBoth"}
{"Action":"skip","Package":"hbmfs/b","Test":"TestBoth"}
{"Action":"output","Package":"hbmfs/b","Test":"TestHangs","Output":"panic: test timed out\n"}
{"Action":"output","Package":"hbmfs/b","Output":"FAIL\thbmfs/b\t0.1s\n"}
{"Action":"fail","Package":"hbmfs/b"}
{"ImportPath":"hbmfs/c","Action":"build-output","Output":"c/c.go:1:1: expected 'package'\n"}
not JSON
`

func TestReport(t *testing.T) {
	var out strings.Builder
	r := &report{out: &out}
	if err := r.read(strings.NewReader(stream)); err != nil {
		t.Fatal(err)
	}
	r.writeLeftOut()
	const want = "ok  \thbmfs/a\t0.1s\n" +
		"    b_test.go:7: wrong byte\n--- FAIL: TestBad (0.00s)\npanic: test timed out\nFAIL\thbmfs/b\t0.1s\n" +
		"c/c.go:1:1: expected 'package'\nnot JSON\n" +
		"\nleft out (2 tests):\n  no rsync: package rsync\n      a.TestTool/x\n  it does not say why\n      b.TestBoth\n"
	if out.String() != want {
		t.Errorf("printed:\n%s\nwant:\n%s", out.String(), want)
	}
	if err := r.checkPassed([]string{"TestGood", "a TestGood", "a TestBoth"}); err != nil {
		t.Error(err)
	}
	err := r.checkPassed([]string{"TestGood", "TestTool/x", "TestBad", "TestGone", "b TestBoth", "b TestGood"})
	if !errors.Is(err, errNotRun) || !strings.HasPrefix(err.Error(), "TestTool/x, TestBad, TestGone, b TestBoth, b TestGood: ") {
		t.Error(err)
	}
	err = r.checkPassed([]string{"TestBoth"})
	if !errors.Is(err, errAmbiguous) || !strings.Contains(err.Error(), "hbmfs/a, hbmfs/b") {
		t.Error(err)
	}
}

// TestRunKeepsTheStatus runs go test on what does not compile.
func TestRunKeepsTheStatus(t *testing.T) {
	if code, err := run(nil, []string{"hbmfs/none"}); code != 1 || err != nil {
		t.Errorf("%d, %v", code, err)
	}
}
