package uapi

import (
	"bytes"
	"errors"
	"math"
	"testing"
	"unsafe"
)

func ringRequest(entries, nameBytes uint32) CtlRingRequest {
	return CtlRingRequest{Size: uint32(CtlRingRequestSize), Op: CtlRing, Entries: entries, NameBytes: nameBytes}
}

func TestCtlRingRequest(t *testing.T) {
	short, flagged, zero, other := ringRequest(1, 0), ringRequest(1, 0), ringRequest(1, 0), ringRequest(1, 0)
	short.Size, flagged.Flags, zero.Zero, other.Op = 16, 1, 1, CtlStats
	for name, c := range map[string]struct {
		r    CtlRingRequest
		want error
	}{
		"least":          {ringRequest(1, 0), nil},
		"most":           {ringRequest(RingEntriesMax, RingNameBytesMax), nil},
		"no entries":     {ringRequest(0, 0), ErrRange},
		"3 entries":      {ringRequest(3, 0), ErrRange},
		"too many":       {ringRequest(2*RingEntriesMax, 0), ErrRange},
		"2^31":           {ringRequest(1<<31, 0), ErrRange},
		"too long":       {ringRequest(1, RingNameBytesMax+1), ErrRange},
		"size":           {short, ErrSize},
		"flags":          {flagged, ErrFlags},
		"zero":           {zero, ErrZero},
		"another's op":   {other, ErrCommand},
		"nothing at all": {CtlRingRequest{}, ErrCommand},
	} {
		in := make([]byte, CtlRingRequestSize)
		EncodeCtlRingRequest(in, &c.r)
		got, err := DecodeCtlRingRequest(in)
		if !errors.Is(err, c.want) || err == nil && got != c.r || err != nil && got != (CtlRingRequest{}) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	if _, err := DecodeCtlRingRequest(make([]byte, CtlRequestSize)); !errors.Is(err, ErrSize) {
		t.Errorf("a message of another length: %v", err)
	}
}

func TestRingFile(t *testing.T) {
	want := RingFile{Size: uint32(RingFileSize), Flags: RingRemove, Ring: 7, File: 9}
	out := stale(RingFileSize)
	EncodeRingFile(out, &want)
	if got, err := DecodeRingFile(IocRingFile, out); err != nil || got != want || DecodeRingFileReply(out) != want {
		t.Errorf("%+v, %v", got, err)
	}
	want.Flags = 2
	if _, err := DecodeRingFile(IocRingFile, encoded(want)); !errors.Is(err, ErrFlags) {
		t.Errorf("unknown flag: %v", err)
	}
	want.Flags = 0
	newer := append(encoded(want), 0, 0, 0, 0, 0, 0, 0, 1)
	newer[0] = byte(len(newer))
	if _, err := DecodeRingFile(sized(IocRingFile, len(newer)), newer); !errors.Is(err, ErrTooBig) {
		t.Errorf("a newer one: %v", err)
	}
}

func TestRingOpCheck(t *testing.T) {
	for name, c := range map[string]struct {
		o    RingOp
		want error
	}{
		"nop":                    {RingOp{UserData: 1}, nil},
		"nop of a file":          {RingOp{File: 1}, ErrZero},
		"fetch":                  {RingOp{Op: RingFetch, File: 3, Offset: 1, Length: math.MaxInt64 - 1, Handle: 4, Name: 5, NameLength: 6, Device: 7}, nil},
		"fetch a run":            {RingOp{Op: RingFetch, Flags: FetchSequential}, nil},
		"fetch both":             {RingOp{Op: RingFetch, Flags: FetchSequential | FetchRandom}, ErrFlags},
		"fetch a loan":           {RingOp{Op: RingFetch, Flags: FetchLoan}, ErrFlags},
		"fetch beyond":           {RingOp{Op: RingFetch, Offset: 1, Length: math.MaxInt64}, ErrRange},
		"fetch with a buffer":    {RingOp{Op: RingFetch, Buffer: 1}, ErrZero},
		"fetch: zero":            {RingOp{Op: RingFetch, Zero: 1}, ErrZero},
		"fetch by a long name":   {RingOp{Op: RingFetch, NameLength: RingNameMax}, nil},
		"fetch by a longer one":  {RingOp{Op: RingFetch, NameLength: RingNameMax + 1}, ErrRange},
		"fetch into by one":      {RingOp{Op: RingFetchInto, NameLength: math.MaxUint16}, ErrRange},
		"fetch into":             {RingOp{Op: RingFetchInto, Length: 1, Buffer: 1, BufferOffset: 2}, nil},
		"fetch into at random":   {RingOp{Op: RingFetchInto, Flags: FetchRandom}, ErrFlags},
		"fetch into beyond":      {RingOp{Op: RingFetchInto, Length: 1, BufferOffset: math.MaxInt64}, ErrRange},
		"fetch into of a handle": {RingOp{Op: RingFetchInto, Handle: 1}, ErrZero},
		"release":                {RingOp{Op: RingRelease, Handle: 1, UserData: 2}, nil},
		"release of a range":     {RingOp{Op: RingRelease, Handle: 1, Length: 2}, ErrZero},
		"cancel":                 {RingOp{Op: RingCancel, Handle: math.MaxUint64}, nil},
		"unknown":                {RingOp{Op: 5}, ErrCommand},
	} {
		if err := c.o.Check(); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// alignedBytes are n bytes as mmap gives them, aligned.
func alignedBytes(n int) []byte {
	if n == 0 {
		return nil
	}
	words := make([]uint64, (n+7)/8)
	return unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), n)
}

// TestRingMemory: what one side writes, the other reads, each entry in its place.
func TestRingMemory(t *testing.T) {
	const entries, names = 4, 10
	mem := alignedBytes(RingLen(entries, names))
	mount := InitRing(mem, 7, entries, names)
	program, err := OpenRing(mem)
	if err != nil || program.Ring.Ring != 7 || program.Submissions() != entries || program.Completions() != 2*entries || len(program.Names()) != names {
		t.Fatalf("%+v, %v", program.Ring, err)
	}
	copy(program.Names(), "0123456789")
	for i := uint32(math.MaxUint32 - 1); i != 6; i++ {
		o, d := RingOp{UserData: uint64(i), BufferOffset: ^uint64(i)}, RingDone{UserData: uint64(i), Zero: ^i}
		program.Submit(i, &o)
		mount.Complete(i, &d)
		if got := mount.Submission(i); got != o {
			t.Errorf("submission %d: %+v", i, got)
		}
		if got := program.Completion(i); got != d {
			t.Errorf("completion %d: %+v", i, got)
		}
		if i+entries < 6 {
			continue
		}
		if got := mount.Submission(i - entries + 1); got.UserData != uint64(i-entries+1) && i > entries {
			t.Errorf("submission %d overwrote another: %+v", i, got)
		}
	}
	if string(mount.Names()) != "0123456789" || program.Entries != entries || program.CompletionHead != 0 {
		t.Errorf("%q, %+v", mount.Names(), program.Ring)
	}
}

func TestOpenRingRefuses(t *testing.T) {
	const entries = 2
	fresh := func() []byte {
		mem := alignedBytes(RingLen(entries, 8))
		InitRing(mem, 1, entries, 8)
		return mem
	}
	for name, spoil := range map[string]func(*Ring){
		"entries":     func(r *Ring) { r.Entries = 3 },
		"more":        func(r *Ring) { r.Entries, r.CompletionEntries = 4, 8 },
		"completions": func(r *Ring) { r.CompletionEntries = 2 },
		"offset":      func(r *Ring) { r.CompletionsOffset += 8 },
		"names":       func(r *Ring) { r.NameBytes = 9 },
		"size":        func(r *Ring) { r.Size = 0 },
	} {
		mem := fresh()
		m, err := OpenRing(mem)
		if err != nil {
			t.Fatal(err)
		}
		spoil(m.Ring)
		if _, err := OpenRing(mem); !errors.Is(err, ErrSize) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := OpenRing(fresh()[:RingHeadSize-1]); !errors.Is(err, ErrSize) {
		t.Errorf("short: %v", err)
	}
}

func FuzzDecodeCtlRingRequest(f *testing.F) {
	f.Add(encoded(ringRequest(1, 0)))
	f.Add(encoded(ringRequest(RingEntriesMax, RingNameBytesMax)))
	f.Fuzz(func(t *testing.T, in []byte) {
		r, err := DecodeCtlRingRequest(in)
		if err == nil && (!bytes.Equal(in, encoded(r)) || r.Entries == 0 || r.Entries > RingEntriesMax || r.NameBytes > RingNameBytesMax || r.Flags != 0) {
			t.Fatalf("accepted %+v", r)
		}
	})
}

func FuzzDecodeRingFile(f *testing.F) {
	f.Add(IocRingFile, encoded(RingFile{Size: uint32(RingFileSize), Ring: 1}))
	f.Add(IocRingFile, encoded(RingFile{Size: uint32(RingFileSize), Flags: RingRemove, File: 1}))
	f.Fuzz(func(t *testing.T, cmd uint32, in []byte) {
		r, err := DecodeRingFile(cmd, in)
		if err == nil && (!isCommand(cmd, NrRingFile, len(in)) || !sameStruct(r, r.Size, in) || r.Flags&^RingRemove != 0) {
			t.Fatalf("accepted %#x, %+v", cmd, r)
		}
	})
}

func FuzzRingOpCheck(f *testing.F) {
	f.Add(encoded(RingOp{Op: RingFetch, Length: 4096, File: 1}))
	f.Add(encoded(RingOp{Op: RingCancel, Handle: 1}))
	f.Fuzz(func(t *testing.T, in []byte) {
		var o RingOp
		if copy(bytesOf(&o), in); o.Check() != nil {
			return
		}
		if o.Op > RingCancel || o.Zero != 0 || o.NameLength > RingNameMax || !inRange(o.Offset, o.Length) || o.Flags&^(FetchRandom|FetchSequential) != 0 {
			t.Fatalf("accepted %+v", o)
		}
	})
}

func FuzzOpenRing(f *testing.F) {
	mem := alignedBytes(RingLen(2, 8))
	InitRing(mem, 1, 2, 8)
	f.Add(mem)
	f.Fuzz(func(t *testing.T, in []byte) {
		mem := alignedBytes(len(in))
		copy(mem, in)
		m, err := OpenRing(mem)
		if err != nil {
			return
		}
		m.Submit(math.MaxUint32, &RingOp{})
		m.Complete(math.MaxUint32, &RingDone{})
		clear(m.Names())
	})
}
