package transporttest

import (
	"testing"
	"time"

	"hbmfs/transport"
)

// attach returns attached memory that the CPU can't touch.
func (f *fixture) attach(size int64) *FakeDevice {
	f.t.Helper()
	dev := NewFakeDevice(f.t, size)
	f.attachTo(dev)
	return dev
}

// attachTo attaches mem to the link until the test ends.
func (f *fixture) attachTo(mem transport.Memory) {
	f.t.Helper()
	a, err := f.link.Attach(f.t.Context(), mem)
	if err != nil {
		f.t.Fatal(err)
	}
	f.plans[mem] = a.Plan()
	if probed, err := f.transport.Plan(mem); probed != a.Plan() {
		f.t.Errorf("attached: %+v, probed before: %+v, %v", a.Plan(), probed, err)
	}
	f.t.Cleanup(func() {
		f.link.Close()
		if err := a.Close(); err != nil {
			f.t.Error(err)
		}
	})
}

func testDevice(t *testing.T, h Harness) {
	f := setUp(t, h)
	file := f.source.Add(1, 4*extent)
	dev := f.attach(4 * extent)
	var flights []*flight
	for _, c := range []struct{ off, at, n int64 }{
		{0, 0, 1}, {3, 8, 4099}, {0, 8192, 64 << 10}, {11, extent, extent}, {1, 2*extent + 1, extent + 4096}, {0, 4 * extent, 0},
	} {
		flights = append(flights, request(file, c.off, transport.Span{Mem: dev, Off: c.at, Len: c.n}))
	}
	f.submit(flights...)
	for _, fl := range flights {
		r := f.wait(fl)
		if r.Err != nil {
			t.Fatal(r.Err)
		}
		if err := Check(dev.Read(fl.Dst.Off, fl.Dst.Len), file, fl.Off); err != nil {
			t.Fatal(err)
		}
		f.told(dev, r)
	}
	if !Scribbled(dev.Read(3*extent+8192, extent-8192)) {
		t.Error("written outside of the destinations")
	}
}

// testDeviceSlow keeps the device from copying: requests into other memory go
// on, and the completion waits for the device.
func testDeviceSlow(t *testing.T, h Harness) {
	f := setUp(t, h)
	file := f.source.Add(1, extent)
	dev := f.attach(extent)
	dev.Pause()
	fl := request(file, 0, transport.Span{Mem: dev, Len: 64 << 10})
	f.submit(fl)
	dev.Waiting(1)
	for range 20 {
		other := f.host(file, 0, 64<<10)
		f.good(other, f.fetch(other))
	}
	if fl.done.Load() != 0 {
		t.Fatal("Done was called before the device had the bytes")
	}
	dev.Resume()
	if r := f.wait(fl); r.Err != nil {
		t.Fatal(r.Err)
	}
	if err := Check(dev.Read(0, 64<<10), file, 0); err != nil {
		t.Error(err)
	}
}

// testDeviceRevoked revokes memory in the middle of a transfer, and after.
func testDeviceRevoked(t *testing.T, h Harness) {
	f := setUp(t, h)
	file := f.source.Add(1, extent)
	dev := f.attach(extent)
	dev.Pause()
	fl := request(file, 0, transport.Span{Mem: dev, Len: 64 << 10})
	f.submit(fl)
	dev.Waiting(1)
	dev.Revoke()
	f.failed(f.wait(fl), transport.ErrRevoked)
	f.failed(f.fetch(request(file, 0, transport.Span{Mem: dev, Len: 8})), transport.ErrRevoked)
	if !Scribbled(dev.Read(0, extent)) {
		t.Error("revoked memory was written to")
	}
	other := f.host(file, 0, extent)
	f.good(other, f.fetch(other))
	f.once(fl)
}

func testAttach(t *testing.T, h Harness) {
	f := setUp(t, h)
	file := f.source.Add(1, extent)
	dev := NewFakeDevice(t, 4096)
	into := func() *flight { return request(file, 0, transport.Span{Mem: dev, Len: 4096}) }
	f.failed(f.fetch(into()), transport.ErrUnavailable)
	a, err := f.link.Attach(t.Context(), dev)
	if err != nil {
		t.Fatal(err)
	}
	if r := f.fetch(into()); r.Err != nil {
		t.Error(r.Err)
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	f.failed(f.fetch(into()), transport.ErrUnavailable)
}

// await returns once a read or call waits in hold.
func await(t *testing.T, hold *Hold) {
	t.Helper()
	select {
	case <-hold.Reached():
	case <-time.After(patience):
		t.Fatalf("nothing asked of the source within %v", patience)
	}
}
