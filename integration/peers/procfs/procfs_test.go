package procfs

import (
	"os"
	"testing"
)

func TestParseField(t *testing.T) {
	const status = "Name:\thbmfs\nVmRSS:\t    1234 kB\nRssShmem:\t  12 kB\n"
	if n, err := parseField(status, "VmRSS"); n != 1234<<10 || err != nil {
		t.Errorf("VmRSS = %d, error %v; want %d", n, err, 1234<<10)
	}
	if _, err := parseField(status, "Rss"); err == nil {
		t.Error("a field that is not there has a value")
	}
}

func TestCPUGrows(t *testing.T) {
	before, err := CPU(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for now := before; now == before; {
		if now, err = CPU(os.Getpid()); err != nil {
			t.Fatal(err)
		}
	}
}
