package loader

import (
	"errors"
	"testing"
	"time"
)

// named is the workload of that name.
func named(t *testing.T, name string) Workload {
	t.Helper()
	for _, w := range Workloads {
		if w.Name == name {
			return w
		}
	}
	t.Fatalf("no workload %s", name)
	return Workload{}
}

// TestShapes: what is known of each workload, and that its samples lie within its
// files.
func TestShapes(t *testing.T) {
	for _, c := range []struct {
		name           string
		scale          float64
		files, samples int
		least, most    int64 // of files, in bytes
	}{
		{"retinanet", 0.01, 11703, 11703, 322_957, 322_957},
		{"retinanet", 1e-9, MinFiles, MinFiles, 322_957, 322_957},
		{"resnet50", 0.01, 10, 10 * 1251, 143_439_660, 143_439_660},
		{"resnet50", 1, 1024, 1024 * 1251, 143_439_660, 143_439_660},
		{"unet3d", 0.1, 720, 720, 146_600_628 - 2*68_341_808, 146_600_628 + 2*68_341_808},
		{"cosmoflow", 0.001, 524, 524, 2_828_486 - 2*71_311, 2_828_486 + 2*71_311},
		{"custom", 0.01, 16, 16 * 512, 64 << 20, 64 << 20},
	} {
		w := named(t, c.name).Scaled(c.scale)
		s, err := newSet(w, "", w.files(), true, 0)
		if err != nil {
			t.Fatal(err)
		}
		if len(s.Files) != c.files || s.Samples() != c.samples {
			t.Errorf("%s × %v: %d files, %d samples, want %d and %d", c.name, c.scale, len(s.Files), s.Samples(), c.files, c.samples)
		}
		for _, f := range s.Files {
			if f.Size < c.least || f.Size > c.most {
				t.Errorf("%s: a file of %d bytes", c.name, f.Size)
			}
		}
		total := int64(0)
		for i := range s.Samples() {
			at := s.Sample(i, 1)
			if at.Off < 0 || at.Len <= 0 || at.Off+at.Len > s.Files[at.File].Size {
				t.Fatalf("%s: sample %d is %+v of %d bytes", c.name, i, at, s.Files[at.File].Size)
			}
			total += at.Len
		}
		if total != s.SampleBytes() {
			t.Errorf("%s: samples have %d bytes, and %d are told", c.name, total, s.SampleBytes())
		}
	}
}

// TestSizesSpread: the mean and the deviation of files' sizes are near those that
// are asked for.
func TestSizesSpread(t *testing.T) {
	w := named(t, "unet3d")
	var sum, squares float64
	for i := range w.Files {
		d := float64(w.size(i) - w.Size)
		sum += d
		squares += d * d
	}
	n, spread := float64(w.Files), float64(w.Spread)
	if mean := sum / n; mean > spread/20 || mean < -spread/20 {
		t.Errorf("the mean is off by %.0f bytes", mean)
	}
	if deviation := squares / n / spread / spread; deviation < 0.6 || deviation > 1 { // it is clipped
		t.Errorf("the variance is %.2f of what it should be", deviation)
	}
}

// TestSamplesAnywhere: not only at multiples of their size, other places for another
// seed, and the same for the same.
func TestSamplesAnywhere(t *testing.T) {
	w := named(t, "custom").Scaled(0.01)
	s, err := newSet(w, "", w.files(), true, 0)
	if err != nil {
		t.Fatal(err)
	}
	aligned, moved := 0, 0
	for i := range s.Samples() {
		a := s.Sample(i, 1)
		if a != s.Sample(i, 1) {
			t.Fatalf("sample %d moves", i)
		}
		if a.Off%4096 == 0 {
			aligned++
		}
		if a != s.Sample(i, 2) {
			moved++
		}
	}
	if aligned > s.Samples()/100 || moved < s.Samples()*99/100 {
		t.Errorf("of %d samples, %d are aligned, and %d lie elsewhere for another seed", s.Samples(), aligned, moved)
	}
}

// TestSmallSamples: there is one for each 128 KiB, and one at least.
func TestSmallSamples(t *testing.T) {
	for _, c := range []struct {
		size, sample int64
		want         int
	}{{64 << 20, 4096, 512}, {64 << 20, 1 << 20, 64}, {64 << 20, 64 << 20, 1}, {5000, 4096, 1}, {4095, 4096, 0}} {
		w := named(t, "custom")
		w.Sample = c.sample
		if got := w.samples(c.size); got != c.want {
			t.Errorf("%d samples of %d bytes in %d, want %d", got, c.sample, c.size, c.want)
		}
	}
}

func TestNoSamples(t *testing.T) {
	for _, files := range [][]File{nil, {{"a", 0}}, {{"a", 100}}} {
		if _, err := newSet(named(t, "custom"), "", files, false, 0); !errors.Is(err, ErrNoSet) {
			t.Errorf("%v: %v, want ErrNoSet", files, err)
		}
	}
}

func TestBatched(t *testing.T) {
	w := named(t, "retinanet")
	if b := w.Batched(12); b.Batch != 12 || b.Compute != w.Compute/2 {
		t.Errorf("%+v", b)
	}
	if b := w.Batched(1 << 20); b.Compute/time.Second != time.Duration(float64(w.Compute)*(1<<20)/24)/time.Second {
		t.Errorf("%+v", b)
	}
}
