package integration

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hbmfs/fs/client"
)

// TestBatchNameTimeout: where names are vouched for, a batch goes by what a name led to,
// and by its modes, for so long at most: also for a file that is open at the target, of
// which a change of its directory's name or of its mode tells nobody.
func TestBatchNameTimeout(t *testing.T) {
	const size, vouched = 20_000, time.Second
	if os.Geteuid() != 0 {
		unsupported(t, "only root runs others")
	}
	r := startRig(t, "--allow-other", "--name-timeout", vouched.String())
	for i, dir := range []string{"d", "next"} {
		must(t, os.Mkdir(filepath.Join(r.src, dir), 0o755))
		writeTagged(t, filepath.Join(r.src, dir, "f"), i, 1, size)
	}
	must(t, os.Chmod(r.src, 0o755))
	names := filepath.Join(t.TempDir(), "names")
	openPath(t, filepath.Dir(names))
	must(t, os.WriteFile(names, []byte("d/f"), 0o644))
	d := r.openDir(".")
	var b client.Batch
	is := func(file int) {
		t.Helper()
		must(t, d.FetchFiles(t.Context(), &b, []client.Want{{Name: "d/f", Length: size}}, client.BatchOptions{Release: b.Handle}))
		must(t, b.Results[0].Err)
		data, err := bytesOf(d, &b.Results[0], 0)
		must(t, err)
		checkTagged(t, data, file, 1, 0)
	}
	is(0)
	before := r.stats().Target
	is(0)
	is(0)
	if after := r.stats().Target; after.Reopens == before.Reopens || after.Opens != before.Opens {
		t.Errorf("%d opens and %d reopens of what is kept", after.Opens-before.Opens, after.Reopens-before.Reopens)
	}
	must(t, os.Rename(filepath.Join(r.src, "d"), filepath.Join(r.src, "old")))
	must(t, os.Rename(filepath.Join(r.src, "next"), filepath.Join(r.src, "d")))
	time.Sleep(vouched)
	is(1)
	for i, want := range []string{"both 1 stricter 0\n", "both 0 stricter 0\n"} {
		if i == 1 {
			must(t, os.Chmod(filepath.Join(r.src, "d/f"), 0o600))
			time.Sleep(vouched)
		}
		if out, err := child(t, "compare-opens", 5001, r.dir, names).CombinedOutput(); err != nil || !strings.HasSuffix(string(out), want) {
			t.Errorf("%v: %s, want %s", err, out, want)
		}
	}
}
