package cache

import (
	"io/fs"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// sourceTree is the sizes of the files of Go's source tree.
func sourceTree(t *testing.T) (sizes []int64) {
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(filepath.Join(strings.TrimSpace(string(root)), "src"), func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			sizes = append(sizes, info.Size())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return sizes
}

// samples is sizes from 4 to 300 KiB.
func samples(n int) []int64 {
	rnd := rand.New(rand.NewPCG(5, 5))
	sizes := make([]int64, n)
	for i := range sizes {
		sizes[i] = 4<<10 + rnd.Int64N(296<<10+1)
	}
	return sizes
}

// epoch fetches files of those sizes, each once, in an order that rnd gives.
func (g *rig) epoch(rnd *rand.Rand, sizes []int64) {
	g.t.Helper()
	for _, i := range rnd.Perm(len(sizes)) {
		src := &fakeNull{key: FileKey{Ino: uint64(i)}, size: sizes[i]}
		l, err := g.Fetch(g.t.Context(), src, alice, 0, sizes[i], Exact, 1000)
		if err != nil {
			g.t.Fatal(err)
		}
		l.Release()
	}
}

// TestWaste: a full pool has no more than 12 % of memory that holds nothing, be it
// the rest of a slot, of a frame, or a slot that is not in use. That stays so, and
// of files that are fetched once an epoch, those are found for which there is room.
func TestWaste(t *testing.T) {
	for name, c := range map[string]struct {
		sizes []int64
		pool  int64
	}{
		"Go's source tree":     {slices.Repeat(sourceTree(t), 4), 256 << 20},
		"samples of 4-300 KiB": {samples(4000), 256 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			g := newRig(t, 0, func(cfg *Config) { cfg.Extent, cfg.Devices[0].Pool = 1<<20, c.pool })
			rnd := rand.New(rand.NewPCG(1, 1))
			var bytes int64
			for _, n := range c.sizes {
				bytes += n
			}
			for epoch := range 4 {
				before := g.Stats().fetched()
				g.epoch(rnd, c.sizes)
				s := g.Stats()
				waste := 1 - float64(s.Resident.Bytes)/float64(s.RegionBytes)
				found := 1 - float64(s.fetched()-before)/float64(bytes)
				fit := float64(s.Resident.Bytes) / float64(bytes)
				t.Logf("epoch %d: %.1f %% of the pool holds nothing; %.3f of the bytes were found, %.3f fit", epoch, 100*waste, found, fit)
				if waste > 0.12 {
					t.Errorf("epoch %d: %.1f %% of the pool holds nothing", epoch, 100*waste)
				}
				if epoch > 0 && found < 0.93*fit {
					t.Errorf("epoch %d: %.3f of the bytes were found, %.3f fit", epoch, found, fit)
				}
			}
		})
	}
}

func (s Stats) fetched() (n int64) {
	for _, b := range s.Bytes {
		n += b
	}
	return n
}
