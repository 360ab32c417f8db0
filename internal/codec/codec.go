// Package codec reads and builds what a track says of its codec: codec private
// data (avcC, hvcC, AudioSpecificConfig, WAVEFORMATEX, BITMAPINFOHEADER,
// OpusHead), parameter sets, NAL unit framings, and the codec names of RFC 6381.
// It decodes no picture and no sound, keeps no state, and is shared by the
// server's playback and by the producer.
//
// Every parser takes bytes from outside: sizes are checked before use, nothing
// is read past the end, and what comes out aliases what went in unless said
// otherwise.
//
// Sources: ISO/IEC 14496-10 and 23008-2 (parameter sets), 14496-15 (avcC,
// hvcC), 14496-3 (AudioSpecificConfig, ADTS), RFC 7845 (OpusHead), RFC 6381 and
// 14496-15 Annex E (codec names), and the Matroska codec registry.
package codec

import (
	"errors"
	"strings"

	"github.com/sluicevideo/sluice"
)

// The ways in which a track's codec cannot be used.
var (
	ErrMissing     = errors.New("codec private data is missing")
	ErrInvalid     = errors.New("codec private data is invalid")
	ErrUnsupported = errors.New("codec is not supported")
)

// Kind is a codec.
type Kind uint8

const (
	Unknown Kind = iota
	H264
	H265
	MJPEG
	AAC
	ALaw
	MuLaw
	Opus
	PCM
)

var kindNames = [...]string{"unknown", "H.264", "H.265", "M-JPEG", "AAC", "G.711 A-law", "G.711 µ-law", "Opus", "PCM"}

func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return kindNames[Unknown]
}

// Video reports whether k is a picture codec.
func (k Kind) Video() bool { return k == H264 || k == H265 || k == MJPEG }

// Audio reports whether k is a sound codec.
func (k Kind) Audio() bool { return k >= AAC && k <= PCM }

// KindOf tells the codec of a track from its CodecID and, where that only names
// a wrapper (A_MS/ACM, V_MS/VFW/FOURCC), from the codec private data.
func KindOf(t *sluice.Track) Kind {
	id := strings.TrimRight(t.CodecID, "\x00")
	switch {
	case id == "V_MPEG4/ISO/AVC":
		return H264
	case id == "V_MPEGH/ISO/HEVC":
		return H265
	case id == "V_MJPEG":
		return MJPEG
	case id == "A_AAC", strings.HasPrefix(id, "A_AAC/"):
		return AAC
	case id == "A_OPUS":
		return Opus
	case strings.HasPrefix(id, "A_PCM/"):
		return PCM
	case id == "A_MS/ACM":
		w, err := ParseWaveFormat(t.CodecPrivate)
		if err != nil {
			return Unknown
		}
		switch w.Tag {
		case WaveALaw:
			return ALaw
		case WaveMuLaw:
			return MuLaw
		case WavePCM:
			return PCM
		}
	case id == "V_MS/VFW/FOURCC":
		h, err := ParseBitmapInfo(t.CodecPrivate)
		if err != nil {
			return Unknown
		}
		switch strings.ToUpper(string(h.Compression[:])) {
		case "MJPG":
			return MJPEG
		case "H264", "AVC1":
			return H264
		case "HEVC", "H265":
			return H265
		}
	}
	return Unknown
}
