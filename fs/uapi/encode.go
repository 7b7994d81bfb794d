package uapi

// The buffers below are as long as the command said; a shorter one panics. The
// daemon's are reused between callers, so every byte of one is written.

// EncodeInfo writes an INFO.
func EncodeInfo(out []byte, i *Info) { copy(out[:InfoSize], bytesOf(i)) }

// EncodeFetch writes the head of a FETCH, and zeros behind the f.SegmentCount
// segments that [EncodeSegment] writes, before or after.
func EncodeFetch(out []byte, f *Fetch) {
	copy(out[:FetchSize], bytesOf(f))
	clear(out[FetchLen(int(f.SegmentCount)):])
}

// EncodeSegment writes segment i of a FETCH. i must be less than the capacity
// that [DecodeFetch] returned.
func EncodeSegment(out []byte, i int, s Segment) {
	copy(out[FetchLen(i):FetchLen(i+1)], bytesOf(&s))
}

// EncodeRelease writes a RELEASE.
func EncodeRelease(out []byte, r *Release) { copy(out[:ReleaseSize], bytesOf(r)) }

// EncodeDigest writes a DIGEST.
func EncodeDigest(out []byte, d *Digest) { copy(out[:DigestSize], bytesOf(d)) }
