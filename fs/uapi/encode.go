package uapi

// Encode functions write every byte of a buffer, which the daemon reuses between
// callers: a structure of the caller's size, zeros where that is longer than
// this ABI's, and no more than it has room for where it is shorter.

// EncodeInfo writes an INFO that is as long as out.
func EncodeInfo(out []byte, i *Info) { encode(out, i) }

// EncodeFetch writes the head of a FETCH, of f.Size bytes, and zeros behind the
// f.SegmentCount segments that [EncodeSegment] writes, before or after. out must
// have room for both.
func EncodeFetch(out []byte, f *Fetch) {
	encode(out[:f.Size], f)
	clear(out[int(f.Size)+int(f.SegmentCount)*SegmentSize:])
}

// EncodeSegment writes segment i of the FETCH f. i must be less than the capacity
// that [DecodeFetch] returned with f.
func EncodeSegment(out []byte, f *Fetch, i int, s Segment) {
	copy(out[int(f.Size)+i*SegmentSize:][:SegmentSize], bytesOf(&s))
}

// EncodeRelease writes a RELEASE that is as long as out.
func EncodeRelease(out []byte, r *Release) { encode(out, r) }

// EncodeDigest writes a DIGEST that is as long as out.
func EncodeDigest(out []byte, d *Digest) { encode(out, d) }

func encode[T layout](out []byte, v *T) { clear(out[copy(out, bytesOf(v)):]) }
