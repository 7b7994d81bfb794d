package uapi

import (
	"bytes"
	"errors"
	"math"
	"testing"
)

// batchInput is a BATCH that asks for names, with room for so many segments.
func batchInput(b Batch, segments int, names ...string) (cmd uint32, in []byte) {
	b.EntryCount, b.SegmentRoom = uint32(len(names)), uint32(segments)
	if b.Size == 0 {
		b.Size = uint32(BatchSize)
	}
	for _, n := range names {
		b.NameBytes += uint32(len(n))
	}
	in = stale(BatchLen(len(names), segments, int(b.NameBytes)))
	EncodeBatch(in, &b, func(i int) (BatchEntry, string) {
		return BatchEntry{Offset: uint64(i), Length: 100}, names[i]
	})
	return IocBatch(len(in)), in
}

// TestDecodeRanges: on an open file there are no names, also none that no entry has.
func TestDecodeRanges(t *testing.T) {
	if _, err := DecodeRanges(batchInput(Batch{}, 3, "", "")); err != nil {
		t.Error(err)
	}
	for _, names := range [][]string{{"a"}, {"", "a"}} {
		if _, err := DecodeRanges(batchInput(Batch{}, 3, names...)); !errors.Is(err, ErrSize) {
			t.Errorf("%q: %v", names, err)
		}
	}
	cmd, in := batchInput(Batch{NameBytes: 5}, 3, "") // that nobody uses
	if _, err := DecodeRanges(cmd, in); !errors.Is(err, ErrSize) {
		t.Error(err)
	}
	if _, err := DecodeRanges(cmd, in[:10]); err == nil {
		t.Error("a cut input is taken")
	}
}

func TestBatchRoundTrip(t *testing.T) {
	names := []string{"a", "", "dir/b", "c"}
	r, err := DecodeBatch(batchInput(Batch{Flags: FetchRandom, Device: 2, Release: 7}, 3, names...))
	if err != nil || r.Flags != FetchRandom || r.Device != 2 || r.Release != 7 {
		t.Fatalf("%+v, %v", r.Batch, err)
	}
	entries := make([]BatchEntry, len(names))
	for i, name := range names {
		entries[i] = r.Entry(i)
		if got := string(r.NameOf(&entries[i])); got != name || entries[i].Offset != uint64(i) || entries[i].Check() != nil {
			t.Errorf("entry %d: %q, %+v", i, got, entries[i])
		}
		entries[i].Segment, entries[i].SegmentCount = uint16(i), 1
	}
	entries[3].SegmentCount, entries[3].Error = 0, 2
	segments := []Segment{{Region: 1}, {Region: 2}, {Region: 3}}
	out := stale(BatchLen(len(names), 3, 7))
	r.Handle, r.Failed = 9, 1
	r.Encode(out, entries, segments)
	reply, err := DecodeBatchReply(out, len(names), 3)
	if err != nil || reply.Handle != 9 || reply.Failed != 1 || reply.SegmentCount != 3 {
		t.Fatalf("%+v, %v", reply.Batch, err)
	}
	for i := range names {
		e, list, err := reply.Entry(i)
		if err != nil || e != entries[i] || len(list) != SegmentSize*int(e.SegmentCount) {
			t.Errorf("entry %d: %+v, %d bytes, %v", i, e, len(list), err)
		}
		if len(list) > 0 && DecodeSegment(list, 0) != segments[i] {
			t.Errorf("entry %d has %+v", i, DecodeSegment(list, 0))
		}
	}
	if got := string(out[len(out)-7:]); got != "adir/bc" {
		t.Errorf("the names came back as %q", got)
	}
}

// TestBatchWritesAll: no byte of what was in the buffer before reaches the caller.
func TestBatchWritesAll(t *testing.T) {
	r, err := DecodeBatch(batchInput(Batch{}, 4, "x"))
	if err != nil {
		t.Fatal(err)
	}
	out := stale(BatchLen(1, 4, 1))
	r.Encode(out, make([]BatchEntry, 1), make([]Segment, 1))
	if rest := out[BatchSize : len(out)-1]; !allZero(rest) {
		t.Errorf("% x", rest)
	}
}

func TestBatchRefused(t *testing.T) {
	change := func(b Batch, f func(*Batch)) Batch { f(&b); return b }
	for name, c := range map[string]struct {
		head Batch
		edit func([]byte) []byte
		want error
	}{
		"loan":                {Batch{Flags: FetchLoan}, nil, ErrFlags},
		"both":                {Batch{Flags: FetchRandom | FetchSequential}, nil, ErrFlags},
		"into, at random":     {Batch{Flags: FetchRandom | BatchInto}, nil, ErrFlags},
		"into, with room":     {Batch{Flags: BatchInto}, nil, ErrSize},
		"into, and release":   {Batch{Flags: BatchInto, Release: 1}, nil, ErrZero},
		"more than came":      {change(Batch{}, func(b *Batch) { b.NameBytes = 1 }), func(in []byte) []byte { return in[:len(in)-1] }, ErrSize},
		"less than came":      {Batch{}, func(in []byte) []byte { return append(in, 0) }, ErrSize},
		"a name at the end":   {Batch{}, func(in []byte) []byte { in[BatchSize+40] = 2; return in }, ErrSize},
		"a name over the end": {Batch{}, func(in []byte) []byte { in[BatchSize+42] = 4; return in }, ErrSize},
		"a long name":         {Batch{}, func(in []byte) []byte { in[BatchSize+43] = 0xff; return in }, ErrSize},
		"an entry's flags":    {Batch{}, func(in []byte) []byte { in[BatchSize+44] = FetchUnsettled; return in }, ErrFlags},
		"entries, wrapped":    {Batch{}, func(in []byte) []byte { copy(in[8:], "\xff\xff\xff\xff"); return in }, ErrSize},
		"segments, wrapped":   {Batch{}, func(in []byte) []byte { copy(in[12:], "\xff\xff\xff\xff"); return in }, ErrSize},
		"only a head":         {Batch{}, func(in []byte) []byte { return in[:BatchSize] }, ErrSize},
	} {
		_, in := batchInput(c.head, 1, "abc")
		if c.edit != nil {
			in = c.edit(in)
		}
		if r, err := DecodeBatch(IocBatch(len(in)), in); !errors.Is(err, c.want) || r.EntryCount != 0 {
			t.Errorf("%s: %+v, %v, want %v", name, r.Batch, err, c.want)
		}
	}
	if err := (&BatchEntry{Offset: 1, Length: math.MaxInt64}).Check(); !errors.Is(err, ErrRange) {
		t.Errorf("a range that is too long: %v", err)
	}
}

func TestBatchReplyRefused(t *testing.T) {
	_, in := batchInput(Batch{}, 2, "abc")
	for _, c := range [][2]int{{2, 1}, {1, 3}} {
		if _, err := DecodeBatchReply(in, c[0], c[1]); !errors.Is(err, ErrSize) {
			t.Errorf("%v: %v", c, err)
		}
	}
	in[BatchSize+50] = 1 // a segment, of none
	r, err := DecodeBatchReply(in, 1, 2)
	if err != nil {
		t.Fatal(err)
	}
	if e, _, err := r.Entry(0); !errors.Is(err, ErrSize) {
		t.Errorf("%+v, %v", e, err)
	}
}

// TestBatchGrowth: callers that are compiled with structures of other sizes.
func TestBatchGrowth(t *testing.T) {
	const newer = 16
	_, ours := batchInput(Batch{}, 2, "abc")
	grown := append(append(bytes.Clone(ours[:BatchSize]), make([]byte, newer)...), ours[BatchSize:]...)
	grown[0] += newer
	r, err := DecodeBatch(IocBatch(len(grown)), grown)
	if err != nil {
		t.Fatal(err)
	}
	e := r.Entry(0)
	if got := string(r.NameOf(&e)); got != "abc" || e.Length != 100 {
		t.Errorf("%q, %+v", got, e)
	}
	out := stale(len(grown))
	r.Encode(out, []BatchEntry{{Error: 5}}, nil)
	if !allZero(out[BatchSize:][:newer]) || out[BatchSize+newer+46] != 5 || string(out[len(out)-3:]) != "abc" {
		t.Errorf("% x", out)
	}
	grown[BatchSize] = 1
	if _, err := DecodeBatch(IocBatch(len(grown)), grown); !errors.Is(err, ErrTooBig) {
		t.Errorf("a member that is not known: %v", err)
	}
	ours[0] -= 8
	if _, err := DecodeBatch(IocBatch(len(ours)), ours); !errors.Is(err, ErrSize) {
		t.Errorf("shorter than the first: %v", err)
	}
}

func FuzzDecodeBatch(f *testing.F) {
	cmd, in := batchInput(Batch{}, 1, "abc")
	f.Add(cmd, in)
	cmd, in = batchInput(Batch{Flags: FetchSequential, Release: 1}, 200, "a", "", "dir/b")
	f.Add(cmd, in)
	f.Add(IocBatch(BatchSize), make([]byte, BatchSize))
	cmd, in = batchInput(Batch{Flags: BatchInto, Device: 7}, 0, "a", "b")
	f.Add(cmd, in)
	f.Fuzz(func(t *testing.T, cmd uint32, in []byte) {
		came := bytes.Clone(in)
		r, err := DecodeBatch(cmd, in)
		if err != nil {
			return
		}
		if r.Into() && (r.Flags != BatchInto || r.Release != 0) || (r.SegmentRoom == 0) != r.Into() {
			t.Fatalf("accepted %+v", r.Batch)
		}
		if !isCommand(cmd, NrBatch, len(in)) || r.EntryCount == 0 || r.Flags&^(FetchRandom|FetchSequential|BatchInto) != 0 || !sameStruct(r.Batch, r.Size, in) {
			t.Fatalf("accepted %#x, %+v", cmd, r.Batch)
		}
		entries := make([]BatchEntry, r.EntryCount)
		for i := range entries {
			entries[i] = r.Entry(i)
			if e := &entries[i]; len(r.NameOf(e)) != int(e.NameLength) || e.Flags != 0 {
				t.Fatalf("entry %d: %+v", i, e)
			}
		}
		out := stale(len(in))
		r.Encode(out, entries, make([]Segment, r.SegmentRoom))
		names := int(r.NameBytes)
		if !bytes.Equal(out[len(out)-names:], came[len(came)-names:]) {
			t.Fatal("other names came back")
		}
	})
}

func FuzzDecodeBatchReply(f *testing.F) {
	_, in := batchInput(Batch{}, 2, "abc", "d")
	f.Add(in, 2, 2)
	f.Fuzz(func(t *testing.T, buf []byte, entries, segments int) {
		if entries < 0 || segments < 0 || entries > BatchMax || segments > BatchMax {
			return
		}
		r, err := DecodeBatchReply(buf, entries, segments)
		if err != nil {
			return
		}
		for i := range entries {
			e, list, err := r.Entry(i)
			if err == nil && len(list) != int(e.SegmentCount)*SegmentSize {
				t.Fatalf("entry %d: %+v with %d bytes", i, e, len(list))
			}
		}
	})
}
