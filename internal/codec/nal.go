package codec

import (
	"encoding/binary"
	"fmt"
	"iter"
)

// NAL unit types that matter here.
const (
	h264Slice = 1
	h264IDR   = 5
	h264SEI   = 6
	h264SPS   = 7
	h264PPS   = 8
	h264AUD   = 9

	h265BLAFirst = 16 // BLA_W_LP
	h265IRAPLast = 23 // reserved IRAP; 16..23 are random access, 21 is CRA
	h265VPS      = 32
	h265SPS      = 33
	h265PPS      = 34
	h265AUD      = 35
)

// NALType is the type of a NAL unit of codec k, or -1 when it is empty.
func NALType(k Kind, nal []byte) int {
	if len(nal) == 0 {
		return -1
	}
	if k == H265 {
		return int(nal[0]>>1) & 0x3f
	}
	return int(nal[0]) & 0x1f
}

// IsAnnexB reports whether b begins with a start code of 3 or 4 bytes. For a
// frame that may as well be length-prefixed, ask Framing: 00 00 01 is also the
// beginning of a length.
func IsAnnexB(b []byte) bool {
	return len(b) >= 4 && b[0] == 0 && b[1] == 0 && (b[2] == 1 || b[2] == 0 && b[3] == 1)
}

// AnnexB yields the NAL units of a byte stream, without start codes and without
// the zero bytes that may follow a unit. They alias b. Bytes before the first
// start code are passed over.
func AnnexB(b []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		start, _ := nextStartCode(b, 0)
		for start >= 0 {
			next, code := nextStartCode(b, start)
			end := len(b)
			if next >= 0 {
				end = code
			}
			for end > start && b[end-1] == 0 {
				end--
			}
			if end > start && !yield(b[start:end]) {
				return
			}
			start = next
		}
	}
}

// nextStartCode finds 00 00 01 at or after from: where the unit behind it
// begins, and where the code begins; -1, -1 when there is none.
func nextStartCode(b []byte, from int) (after, at int) {
	for i := from; i+2 < len(b); {
		switch {
		case b[i+2] > 1:
			i += 3
		case b[i+2] == 1:
			if b[i] == 0 && b[i+1] == 0 {
				return i + 3, i
			}
			i += 3
		default:
			i++
		}
	}
	return -1, -1
}

// LengthPrefixed yields the NAL units of a frame in which each stands behind
// its length of size bytes (1, 2 or 4; big endian). They alias b. A length that
// leaves b ends the sequence with an error.
func LengthPrefixed(b []byte, size int) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for at := 0; at < len(b); {
			n, ok := nalLength(b[at:], size)
			if !ok || n > len(b)-at-size {
				yield(nil, fmt.Errorf("NAL unit at %d of a frame of %d bytes: length runs past the end: %w", at, len(b), ErrInvalid))
				return
			}
			at += size
			if n > 0 && !yield(b[at:at+n], nil) {
				return
			}
			at += n
		}
	}
}

func nalLength(b []byte, size int) (int, bool) {
	if len(b) < size {
		return 0, false
	}
	switch size {
	case 1:
		return int(b[0]), true
	case 2:
		return int(binary.BigEndian.Uint16(b)), true
	case 4:
		n := binary.BigEndian.Uint32(b)
		return int(n), n < 1<<31
	}
	return 0, false
}

// Fits reports whether b is wholly made of NAL units behind lengths of size bytes.
func Fits(b []byte, size int) bool {
	at := 0
	for at < len(b) {
		n, ok := nalLength(b[at:], size)
		if !ok || n > len(b)-at-size {
			return false
		}
		at += size + n
	}
	return at > 0
}

// Framing is how NAL units stand in a frame.
type Framing uint8

const (
	// FramingLength1, 2 and 4 are lengths of so many bytes before each unit.
	FramingLength1 Framing = 1
	FramingLength2 Framing = 2
	FramingLength4 Framing = 4
	// FramingAnnexB is start codes.
	FramingAnnexB Framing = 0xff
	// FramingBroken is neither.
	FramingBroken Framing = 0
)

// FramingOf tells how the NAL units of a frame stand, where declared is what the
// codec private data says. Producers declare one and send the other often
// enough, so the frame decides; the declared one wins when both fit.
func FramingOf(frame []byte, declared Framing) Framing {
	if declared != FramingAnnexB {
		if Fits(frame, int(declared)) {
			return declared
		}
		if IsAnnexB(frame) {
			return FramingAnnexB
		}
		return FramingBroken
	}
	if IsAnnexB(frame) {
		// 00 00 00 01 could be a length of one byte, 00 00 01 xx one of 256 to
		// 511; that the lengths then add up to the end by chance is too rare to
		// matter against a declaration.
		return FramingAnnexB
	}
	if Fits(frame, 4) {
		return FramingLength4
	}
	return FramingBroken
}

// NALs yields the NAL units of a frame in the given framing; see AnnexB and
// LengthPrefixed.
func NALs(frame []byte, f Framing) iter.Seq2[[]byte, error] {
	if f != FramingAnnexB {
		return LengthPrefixed(frame, int(f))
	}
	return func(yield func([]byte, error) bool) {
		for nal := range AnnexB(frame) {
			if !yield(nal, nil) {
				return
			}
		}
	}
}

// AppendLengthPrefixed appends the NAL units of a byte stream to dst, each
// behind a length of four bytes.
func AppendLengthPrefixed(dst, annexB []byte) []byte {
	for nal := range AnnexB(annexB) {
		dst = binary.BigEndian.AppendUint32(dst, uint32(len(nal)))
		dst = append(dst, nal...)
	}
	return dst
}

// AppendAnnexB appends the NAL units of a length-prefixed frame to dst, each
// behind a start code of four bytes.
func AppendAnnexB(dst, frame []byte, size int) ([]byte, error) {
	for nal, err := range LengthPrefixed(frame, size) {
		if err != nil {
			return dst, err
		}
		dst = append(dst, 0, 0, 0, 1)
		dst = append(dst, nal...)
	}
	return dst, nil
}

// KeyFrame reports whether decoding can start at a frame of codec k: an IDR
// picture in H.264; in H.265 any IRAP picture, CRA and BLA included; every frame
// of the other codecs.
func KeyFrame(k Kind, frame []byte, f Framing) bool {
	if k != H264 && k != H265 {
		return true
	}
	for nal, err := range NALs(frame, f) {
		if err != nil {
			return false
		}
		t := NALType(k, nal)
		if k == H264 && t == h264IDR || k == H265 && t >= h265BLAFirst && t <= h265IRAPLast {
			return true
		}
		if k == H264 && t >= h264Slice && t < h264IDR || k == H265 && t < h265BLAFirst {
			return false // the first slice decides
		}
	}
	return false
}

// ParameterSets picks the parameter sets out of a frame, in the order met: VPS
// (H.265 only), SPS, PPS. They alias frame.
func ParameterSets(k Kind, frame []byte, f Framing) (vps, sps, pps [][]byte) {
	for nal, err := range NALs(frame, f) {
		if err != nil {
			return vps, sps, pps
		}
		vps, sps, pps = sortParameterSet(k, nal, vps, sps, pps)
	}
	return vps, sps, pps
}

func sortParameterSet(k Kind, nal []byte, vps, sps, pps [][]byte) ([][]byte, [][]byte, [][]byte) {
	switch t := NALType(k, nal); {
	case k == H264 && t == h264SPS, k == H265 && t == h265SPS:
		sps = append(sps, nal)
	case k == H264 && t == h264PPS, k == H265 && t == h265PPS:
		pps = append(pps, nal)
	case k == H265 && t == h265VPS:
		vps = append(vps, nal)
	}
	return vps, sps, pps
}

// IsParameterSet reports whether a NAL unit is a VPS, SPS or PPS.
func IsParameterSet(k Kind, nal []byte) bool {
	t := NALType(k, nal)
	if k == H265 {
		return t >= h265VPS && t <= h265PPS
	}
	return t == h264SPS || t == h264PPS
}

// IsDelimiter reports whether a NAL unit is an access unit delimiter.
func IsDelimiter(k Kind, nal []byte) bool {
	t := NALType(k, nal)
	return k == H264 && t == h264AUD || k == H265 && t == h265AUD
}
