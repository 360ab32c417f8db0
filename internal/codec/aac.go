package codec

import (
	"fmt"
	"strconv"
)

// AACConfig is an AudioSpecificConfig (ISO/IEC 14496-3 §1.6.2), the codec private
// data of AAC.
type AACConfig struct {
	ObjectType int // 2: AAC LC; 5 and 29 announce SBR and PS in front of the core type
	SampleRate int // Hz, of the core: what a frame of 1024 samples counts in
	Channels   int // 0: told by a program config element in the stream
	// ExtensionRate is the output rate under SBR; 0 without it.
	ExtensionRate int
}

var aacRates = [...]int{96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350}

// ParseAACConfig reads an AudioSpecificConfig.
func ParseAACConfig(b []byte) (*AACConfig, error) {
	if len(b) < 2 {
		return nil, fmt.Errorf("AudioSpecificConfig of %d bytes: at least 2: %w", len(b), ErrInvalid)
	}
	r := &bitReader{b: b[:min(len(b), 64)]}
	c := &AACConfig{ObjectType: aacObjectType(r)}
	var err error
	if c.SampleRate, err = aacRate(r); err != nil {
		return nil, err
	}
	channels := int(r.u(4))
	if c.ObjectType == 5 || c.ObjectType == 29 {
		if c.ExtensionRate, err = aacRate(r); err != nil {
			return nil, err
		}
		aacObjectType(r) // the core's
	}
	if r.over {
		return nil, fmt.Errorf("AudioSpecificConfig of %d bytes: ends too early: %w", len(b), ErrInvalid)
	}
	switch {
	case c.ObjectType == 0:
		return nil, fmt.Errorf("AudioSpecificConfig: object type 0: %w", ErrInvalid)
	case channels == 7:
		c.Channels = 8
	case channels > 7:
		return nil, fmt.Errorf("AudioSpecificConfig: channel configuration %d: %w", channels, ErrInvalid)
	default:
		c.Channels = channels
	}
	return c, nil
}

func aacObjectType(r *bitReader) int {
	t := int(r.u(5))
	if t == 31 {
		t = 32 + int(r.u(6))
	}
	return t
}

func aacRate(r *bitReader) (int, error) {
	i := int(r.u(4))
	if i == 15 {
		rate := int(r.u(24))
		if rate == 0 {
			return 0, fmt.Errorf("AudioSpecificConfig: sampling rate 0: %w", ErrInvalid)
		}
		return rate, nil
	}
	if i >= len(aacRates) {
		return 0, fmt.Errorf("AudioSpecificConfig: sampling frequency index %d: %w", i, ErrInvalid)
	}
	return aacRates[i], nil
}

// rateIndex is the sampling frequency index, 15 when the rate has none.
func rateIndex(rate int) int {
	for i, r := range aacRates {
		if r == rate {
			return i
		}
	}
	return 15
}

// Append appends the AudioSpecificConfig to b: two bytes for AAC LC at a
// standard rate.
func (c *AACConfig) Append(b []byte) ([]byte, error) {
	if c.ObjectType < 1 || c.ObjectType > 30 || c.Channels < 0 || c.Channels == 7 || c.Channels > 8 || c.SampleRate <= 0 || c.SampleRate >= 1<<24 {
		return b, fmt.Errorf("AAC object type %d, %d Hz, %d channels: %w", c.ObjectType, c.SampleRate, c.Channels, ErrInvalid)
	}
	channels := c.Channels
	if channels == 8 {
		channels = 7
	}
	i := rateIndex(c.SampleRate)
	if i < 15 {
		return append(b, byte(c.ObjectType<<3|i>>1), byte(i&1<<7|channels<<3)), nil
	}
	v := uint64(c.ObjectType)<<35 | 15<<31 | uint64(c.SampleRate)<<7 | uint64(channels)<<3
	return append(b, byte(v>>32), byte(v>>24), byte(v>>16), byte(v>>8), byte(v)), nil
}

// Codec is the RFC 6381 name, such as mp4a.40.2.
func (c *AACConfig) Codec() string { return "mp4a.40." + strconv.Itoa(c.ObjectType) }

// adtsHeaderSize is an ADTS header without a checksum.
const adtsHeaderSize = 7

// AppendADTS appends the header that makes a raw frame of n bytes an ADTS frame
// (13818-7 §6.2), as MPEG-TS carries it.
func (c *AACConfig) AppendADTS(b []byte, n int) ([]byte, error) {
	profile := c.ObjectType - 1
	if c.ObjectType == 5 || c.ObjectType == 29 || profile < 0 || profile > 3 {
		profile = 1 // SBR is signalled implicitly over an LC core
	}
	i := rateIndex(c.SampleRate)
	channels := c.Channels
	if channels == 8 {
		channels = 7
	}
	size := n + adtsHeaderSize
	if i == 15 || size >= 1<<13 {
		return b, fmt.Errorf("ADTS: %d Hz, frame of %d bytes: %w", c.SampleRate, n, ErrUnsupported)
	}
	return append(b, 0xff, 0xf1,
		byte(profile<<6|i<<2|channels>>2),
		byte(channels&3<<6|size>>11),
		byte(size>>3),
		byte(size&7<<5|0x1f),
		0xfc), nil
}

// StripADTS takes one ADTS frame off the front of b: its configuration, the raw
// frame (aliasing b), and what follows. Frames that carry more than one raw block
// are refused: nobody sends them.
func StripADTS(b []byte) (c AACConfig, frame, rest []byte, err error) {
	if len(b) < adtsHeaderSize || b[0] != 0xff || b[1]&0xf6 != 0xf0 {
		return c, nil, nil, fmt.Errorf("ADTS: no header at the start of %d bytes: %w", len(b), ErrInvalid)
	}
	header := adtsHeaderSize
	if b[1]&1 == 0 {
		header += 2 // checksum
	}
	i := int(b[2] >> 2 & 0xf)
	size := int(b[3]&3)<<11 | int(b[4])<<3 | int(b[5])>>5
	if i >= len(aacRates) || size < header || size > len(b) || b[6]&3 != 0 {
		return c, nil, nil, fmt.Errorf("ADTS: rate index %d, frame of %d in %d bytes, %d blocks: %w", i, size, len(b), b[6]&3+1, ErrInvalid)
	}
	channels := int(b[2]&1)<<2 | int(b[3]>>6)
	if channels == 7 {
		channels = 8
	}
	c = AACConfig{ObjectType: int(b[2]>>6) + 1, SampleRate: aacRates[i], Channels: channels}
	return c, b[header:size], b[size:], nil
}

// IsADTS reports whether a frame begins with an ADTS header that spans it.
func IsADTS(b []byte) bool {
	_, _, rest, err := StripADTS(b)
	return err == nil && len(rest) == 0
}
