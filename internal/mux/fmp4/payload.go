package fmp4

import (
	"encoding/binary"
	"fmt"

	"github.com/sluicevideo/sluice/internal/codec"
)

// outLength is the size of the NAL lengths that the track's sample entry says.
func outLength(p *codec.Params) int {
	if p.Framing == codec.FramingAnnexB {
		return 4
	}
	return int(p.Framing)
}

// payload appends a frame's bytes in MP4's form to out and returns how many they
// are. As a rule that is the frame itself. Frames with start codes become
// lengths (appended to lengths, slices of which are handed out: when it grows, the
// old array stays theirs) and slices of the frame; ADTS headers are left out.
func payload(out [][]byte, lengths []byte, p *codec.Params, frame []byte) ([][]byte, []byte, int, error) {
	switch p.Kind {
	case codec.H264, codec.H265:
	case codec.AAC:
		if len(frame) > 1 && frame[0] == 0xff && codec.IsADTS(frame) {
			_, frame, _, _ = codec.StripADTS(frame)
		}
		return append(out, frame), lengths, len(frame), nil
	default:
		return append(out, frame), lengths, len(frame), nil
	}
	size := outLength(p)
	switch framing := codec.FramingOf(frame, p.Framing); framing {
	case codec.Framing(size):
		return append(out, frame), lengths, len(frame), nil
	case codec.FramingAnnexB:
		n := 0
		for nal := range codec.AnnexB(frame) {
			if size < 4 && len(nal)>>(8*size) != 0 {
				return out, lengths, 0, fmt.Errorf("NAL unit of %d bytes behind a length of %d bytes: %w", len(nal), size, codec.ErrInvalid)
			}
			at := len(lengths)
			lengths = binary.BigEndian.AppendUint32(lengths, uint32(len(nal)))
			if size < 4 {
				copy(lengths[at:], lengths[at+4-size:])
				lengths = lengths[:at+size]
			}
			out = append(out, lengths[at:len(lengths):len(lengths)], nal)
			n += size + len(nal)
		}
		return out, lengths, n, nil
	}
	return out, lengths, 0, fmt.Errorf("frame of %d bytes is no sequence of NAL units: %w", len(frame), codec.ErrInvalid)
}

// AppendPayload appends a frame's bytes in the form of the file to out, and says
// how many they are. What is appended aliases frame, but for lengths.
func AppendPayload(out [][]byte, p *codec.Params, frame []byte) ([][]byte, int, error) {
	out, _, n, err := payload(out, nil, p, frame)
	return out, n, err
}

// Size is how many bytes a frame takes in the file; see payload.
func Size(p *codec.Params, frame []byte) (int, error) {
	var out [64][]byte
	var lengths [256]byte
	_, _, n, err := payload(out[:0], lengths[:0], p, frame)
	return n, err
}
