package uapi

import (
	"errors"
	"maps"
	"math"
	"testing"
)

func init() {
	maps.Copy(structures, map[string]any{"hbmfs_fetch_into": FetchInto{}, "hbmfs_ctl_buffer": CtlBufferRequest{}})
	maps.Copy(constants, map[string]any{
		"HBMFS_BATCH_INTO":              BatchInto,
		"HBMFS_FETCH_INTO_SIZE_MIN":     MinFetchIntoSize,
		"HBMFS_IOC_FETCH_INTO":          IocFetchInto,
		"_IOC_NR(HBMFS_IOC_FETCH_INTO)": NrFetchInto,
		"HBMFS_CTL_BUFFER":              CtlBuffer,
		"HBMFS_CTL_UNBUFFER":            CtlUnbuffer,
		"HBMFS_CTL_DMABUF":              CtlDMABuf,
		"HBMFS_CTL_REVOKE":              CtlRevoke,
	})
}

func TestFetchIntoRoundTrip(t *testing.T) {
	want := FetchInto{Size: uint32(FetchIntoSize), Offset: 1, Length: math.MaxInt64 - 1, Buffer: 2, BufferOffset: 1, Fetched: 4, FileSize: 5, Resident: 6, Path: 7, Why: 8}
	out := stale(FetchIntoSize)
	EncodeFetchInto(out, &want)
	if got, err := DecodeFetchInto(IocFetchInto, out); err != nil || got != want || DecodeFetchIntoReply(out) != want {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestFetchIntoRefused: wrong input, and structures of other sizes.
func TestFetchIntoRefused(t *testing.T) {
	change := func(f func(*FetchInto)) []byte {
		v := FetchInto{Size: uint32(FetchIntoSize)}
		f(&v)
		return encoded(v)
	}
	grown := func(last byte) []byte {
		in := append(change(func(f *FetchInto) { f.Size += 8 }), make([]byte, 8)...)
		in[len(in)-1] = last
		return in
	}
	for name, c := range map[string]struct {
		in   []byte
		want error
	}{
		"nothing":              {change(func(*FetchInto) {}), nil},
		"flags":                {change(func(f *FetchInto) { f.Flags = FetchUnsettled }), ErrFlags},
		"zero":                 {change(func(f *FetchInto) { f.Zero = 1 }), ErrZero},
		"range":                {change(func(f *FetchInto) { f.Offset, f.Length = 1, math.MaxInt64 }), ErrRange},
		"place":                {change(func(f *FetchInto) { f.BufferOffset, f.Length = 1, math.MaxInt64 }), ErrRange},
		"place, wrapped":       {change(func(f *FetchInto) { f.BufferOffset = math.MaxUint64 }), ErrRange},
		"size":                 {change(func(f *FetchInto) { f.Size = 0 }), ErrSize},
		"shorter":              {change(func(f *FetchInto) { f.Size -= 8 })[:FetchIntoSize-8], ErrSize},
		"newer":                {grown(0), nil},
		"newer, and uses that": {grown(1), ErrTooBig},
	} {
		if got, err := DecodeFetchInto(sized(IocFetchInto, len(c.in)), c.in); !errors.Is(err, c.want) || err != nil && got != (FetchInto{}) {
			t.Errorf("%s: %+v, %v, want %v", name, got, err, c.want)
		}
	}
}

func TestCtlBuffer(t *testing.T) {
	request := func(f func(*CtlBufferRequest)) []byte {
		r := CtlBufferRequest{Size: uint32(CtlBufferSize), Op: CtlBuffer, Device: 3, Offset: 1, Length: math.MaxInt64 - 1}
		f(&r)
		out := stale(CtlBufferSize)
		EncodeCtlBuffer(out, &r)
		return out
	}
	for name, c := range map[string]struct {
		in   []byte
		want error
	}{
		"good":     {request(func(*CtlBufferRequest) {}), nil},
		"op":       {request(func(r *CtlBufferRequest) { r.Op = CtlRegion }), ErrCommand},
		"flags":    {request(func(r *CtlBufferRequest) { r.Flags = 1 }), ErrFlags},
		"nothing":  {request(func(r *CtlBufferRequest) { r.Length = 0 }), ErrRange},
		"too long": {request(func(r *CtlBufferRequest) { r.Length++ }), ErrRange},
		"size":     {request(func(r *CtlBufferRequest) { r.Size++ }), ErrSize},
		"cut":      {request(func(*CtlBufferRequest) {})[:CtlBufferSize-1], ErrSize},
		"longer":   {append(request(func(*CtlBufferRequest) {}), 0), ErrSize},
		"empty":    {nil, ErrSize},
	} {
		got, err := DecodeCtlBuffer(c.in)
		if !errors.Is(err, c.want) || (err == nil) != (got.Length > 0) {
			t.Errorf("%s: %+v, %v, want %v", name, got, err, c.want)
		}
	}
	unbuffer := CtlRequest{Size: uint32(CtlRequestSize), Op: CtlUnbuffer, Region: 7}
	if got, err := DecodeCtlRequest(encoded(unbuffer)); err != nil || got != unbuffer {
		t.Errorf("%+v, %v", got, err)
	}
}

func FuzzDecodeFetchInto(f *testing.F) {
	f.Add(IocFetchInto, encoded(FetchInto{Size: uint32(FetchIntoSize), Buffer: 1, Length: 4096}))
	f.Add(IocFetchInto, encoded(FetchInto{Size: uint32(FetchIntoSize), BufferOffset: 1, Length: math.MaxInt64}))
	f.Fuzz(func(t *testing.T, cmd uint32, in []byte) {
		r, err := DecodeFetchInto(cmd, in)
		if err == nil && (!isCommand(cmd, NrFetchInto, len(in)) || !sameStruct(r, uint32(len(in)), in) || r.Flags != 0 || r.Zero != 0 ||
			!inRange(r.Offset, r.Length) || !inRange(r.BufferOffset, r.Length)) {
			t.Fatalf("accepted %#x, %+v", cmd, r)
		}
	})
}

func FuzzDecodeCtlBuffer(f *testing.F) {
	f.Add(encoded(CtlBufferRequest{Size: uint32(CtlBufferSize), Op: CtlBuffer, Length: 4096}))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, in []byte) {
		r, err := DecodeCtlBuffer(in)
		if err == nil && (len(in) != CtlBufferSize || string(encoded(r)) != string(in) || r.Op != CtlBuffer || r.Flags != 0 || r.Length == 0 || !inRange(r.Offset, r.Length)) {
			t.Fatalf("accepted %+v", r)
		}
	})
}
