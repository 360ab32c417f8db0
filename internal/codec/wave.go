package codec

import (
	"encoding/binary"
	"fmt"
)

// Format tags of WAVEFORMATEX.
const (
	WavePCM   = 1
	WaveALaw  = 6
	WaveMuLaw = 7
)

// WaveFormat is a WAVEFORMATEX, little endian: the codec private data of
// A_MS/ACM tracks, which is how G.711 is sent.
type WaveFormat struct {
	Tag           uint16
	Channels      int
	SampleRate    int // Hz
	BytesPerSec   int // not to be relied on: the official producer writes an eighth of it
	BlockAlign    int
	BitsPerSample int // 0 from the official producer
	Extra         []byte
}

// ParseWaveFormat reads 16 or more bytes; Extra aliases b.
func ParseWaveFormat(b []byte) (*WaveFormat, error) {
	if len(b) < 16 {
		return nil, fmt.Errorf("WAVEFORMATEX of %d bytes: at least 16: %w", len(b), ErrInvalid)
	}
	w := &WaveFormat{
		Tag: binary.LittleEndian.Uint16(b), Channels: int(binary.LittleEndian.Uint16(b[2:])),
		SampleRate: int(binary.LittleEndian.Uint32(b[4:])), BytesPerSec: int(binary.LittleEndian.Uint32(b[8:])),
		BlockAlign: int(binary.LittleEndian.Uint16(b[12:])), BitsPerSample: int(binary.LittleEndian.Uint16(b[14:])),
	}
	if len(b) >= 18 {
		n := int(binary.LittleEndian.Uint16(b[16:]))
		if n > len(b)-18 {
			return nil, fmt.Errorf("WAVEFORMATEX: %d extra bytes where %d are left: %w", n, len(b)-18, ErrInvalid)
		}
		w.Extra = b[18 : 18+n]
	}
	if w.Channels < 1 || w.Channels > 32 || w.SampleRate < 1 || w.SampleRate > 1<<20 {
		return nil, fmt.Errorf("WAVEFORMATEX: %d channels at %d Hz: %w", w.Channels, w.SampleRate, ErrInvalid)
	}
	return w, nil
}

// NewG711 is the format of G.711 sound; tag is WaveALaw or WaveMuLaw.
func NewG711(tag uint16, channels, sampleRate int) *WaveFormat {
	return &WaveFormat{Tag: tag, Channels: channels, SampleRate: sampleRate, BytesPerSec: channels * sampleRate, BlockAlign: channels, BitsPerSample: 8}
}

// Append appends the 18 bytes and Extra to b.
func (w *WaveFormat) Append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint16(b, w.Tag)
	b = binary.LittleEndian.AppendUint16(b, uint16(w.Channels))
	b = binary.LittleEndian.AppendUint32(b, uint32(w.SampleRate))
	b = binary.LittleEndian.AppendUint32(b, uint32(w.BytesPerSec))
	b = binary.LittleEndian.AppendUint16(b, uint16(w.BlockAlign))
	b = binary.LittleEndian.AppendUint16(b, uint16(w.BitsPerSample))
	b = binary.LittleEndian.AppendUint16(b, uint16(len(w.Extra)))
	return append(b, w.Extra...)
}

// BitmapInfo is a BITMAPINFOHEADER, little endian, 40 bytes: the codec private
// data of V_MS/VFW/FOURCC tracks, which is how M-JPEG is sent.
type BitmapInfo struct {
	Width, Height int // pixels; a negative height (top-down) is given as positive
	BitCount      int
	Compression   [4]byte // FOURCC
	Extra         []byte
}

const bitmapInfoSize = 40

// ParseBitmapInfo reads 40 or more bytes; Extra aliases b.
func ParseBitmapInfo(b []byte) (*BitmapInfo, error) {
	if len(b) < bitmapInfoSize {
		return nil, fmt.Errorf("BITMAPINFOHEADER of %d bytes: at least %d: %w", len(b), bitmapInfoSize, ErrInvalid)
	}
	w, h := int(int32(binary.LittleEndian.Uint32(b[4:]))), int(int32(binary.LittleEndian.Uint32(b[8:])))
	if h < 0 {
		h = -h
	}
	if w <= 0 || w > maxPictureSide || h <= 0 || h > maxPictureSide {
		return nil, fmt.Errorf("BITMAPINFOHEADER: picture of %d×%d: %w", w, h, ErrInvalid)
	}
	return &BitmapInfo{
		Width: w, Height: h, BitCount: int(binary.LittleEndian.Uint16(b[14:])),
		Compression: [4]byte(b[16:20]), Extra: b[bitmapInfoSize:],
	}, nil
}

// Append appends the 40 bytes and Extra to b.
func (h *BitmapInfo) Append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(bitmapInfoSize+len(h.Extra)))
	b = binary.LittleEndian.AppendUint32(b, uint32(h.Width))
	b = binary.LittleEndian.AppendUint32(b, uint32(h.Height))
	b = binary.LittleEndian.AppendUint16(b, 1)
	b = binary.LittleEndian.AppendUint16(b, uint16(h.BitCount))
	b = append(b, h.Compression[:]...)
	b = binary.LittleEndian.AppendUint32(b, uint32(h.Width*h.Height*h.BitCount/8))
	b = append(b, make([]byte, 16)...) // resolution and palette: none
	return append(b, h.Extra...)
}
