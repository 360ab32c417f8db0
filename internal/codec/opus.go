package codec

import (
	"encoding/binary"
	"fmt"
	"time"
)

// OpusHead is the identification header of Opus (RFC 7845 §5.1), the codec
// private data of A_OPUS tracks.
type OpusHead struct {
	Channels   int
	PreSkip    int // samples at 48 kHz
	InputRate  int // Hz; for information only, Opus always counts in 48 kHz
	OutputGain int16
	Family     uint8
	Mapping    []byte // stream count, coupled count, one index a channel; empty for family 0
}

// OpusRate is the clock of every Opus track.
const OpusRate = 48000

// ParseOpusHead reads an OpusHead; Mapping aliases b.
func ParseOpusHead(b []byte) (*OpusHead, error) {
	if len(b) < 19 || string(b[:8]) != "OpusHead" {
		return nil, fmt.Errorf("OpusHead of %d bytes: no header: %w", len(b), ErrInvalid)
	}
	h := &OpusHead{
		Channels: int(b[9]), PreSkip: int(binary.LittleEndian.Uint16(b[10:])),
		InputRate: int(binary.LittleEndian.Uint32(b[12:])), OutputGain: int16(binary.LittleEndian.Uint16(b[16:])), Family: b[18],
	}
	if b[8]>>4 != 0 || h.Channels == 0 || h.Family == 0 && h.Channels > 2 {
		return nil, fmt.Errorf("OpusHead: version %d, %d channels, family %d: %w", b[8], h.Channels, h.Family, ErrInvalid)
	}
	if h.Family != 0 {
		if len(b) < 21+h.Channels {
			return nil, fmt.Errorf("OpusHead: mapping of %d channels in %d bytes: %w", h.Channels, len(b), ErrInvalid)
		}
		h.Mapping = b[19 : 21+h.Channels]
	}
	return h, nil
}

// Append appends the OpusHead to b.
func (h *OpusHead) Append(b []byte) []byte {
	b = append(append(b, "OpusHead"...), 1, byte(h.Channels))
	b = binary.LittleEndian.AppendUint16(b, uint16(h.PreSkip))
	b = binary.LittleEndian.AppendUint32(b, uint32(h.InputRate))
	b = binary.LittleEndian.AppendUint16(b, uint16(h.OutputGain))
	return append(append(b, h.Family), h.Mapping...)
}

// AppendDOps appends the body of MP4's dOps box: the same fields, big endian.
func (h *OpusHead) AppendDOps(b []byte) []byte {
	b = append(b, 0, byte(h.Channels))
	b = binary.BigEndian.AppendUint16(b, uint16(h.PreSkip))
	b = binary.BigEndian.AppendUint32(b, uint32(h.InputRate))
	b = binary.BigEndian.AppendUint16(b, uint16(h.OutputGain))
	return append(append(b, h.Family), h.Mapping...)
}

// opusFrameSizes by the configuration number of the table of contents byte, in
// units of 2.5 ms (RFC 6716 §3.1).
var opusFrameSizes = [32]int{
	4, 8, 16, 24, 4, 8, 16, 24, 4, 8, 16, 24, 4, 8, 4, 8,
	1, 2, 4, 8, 1, 2, 4, 8, 1, 2, 4, 8, 1, 2, 4, 8,
}

// OpusDuration is how long a packet plays; 0 when it is malformed.
func OpusDuration(packet []byte) time.Duration {
	if len(packet) == 0 {
		return 0
	}
	frames := 1
	switch packet[0] & 3 {
	case 1, 2:
		frames = 2
	case 3:
		if len(packet) < 2 {
			return 0
		}
		frames = int(packet[1] & 0x3f)
	}
	d := time.Duration(frames*opusFrameSizes[packet[0]>>3]) * 2500 * time.Microsecond
	if d > 120*time.Millisecond {
		return 0
	}
	return d
}
