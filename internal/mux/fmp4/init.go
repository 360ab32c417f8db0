// Package fmp4 writes ISO base media files (MP4): an initialization segment, the
// media fragments behind it (moof and mdat), and one progressive file with its
// index in front. It takes frames as slices and gives back slices: the boxes it
// wrote, and the frames themselves between them, so no picture is copied.
//
// It writes the boxes by hand. The libraries at hand build a tree of structures
// and marshal it through an io.WriteSeeker, payload included; a moof is three
// hundred bytes that are the same each time, and writing them costs less than the
// tree (see BenchmarkFragment).
//
// Decoding times come from mux.Schedule; composition offsets are signed (trun and
// ctts version 1), so an edit list is not needed. Sources: ISO/IEC 14496-12
// (boxes), 14496-15 (avc1, hvc1), 14496-14 (mp4a, esds), and the Opus
// encapsulation (dOps).
package fmp4

import (
	"fmt"

	"github.com/sluicevideo/sluice/internal/codec"
)

// Track is a track of the output.
type Track struct {
	ID        uint32 // from 1
	Params    *codec.Params
	Timescale uint32 // ticks a second
	// Duration of the whole track in ticks; 0 in an initialization segment.
	Duration uint64
}

// VideoTimescale is the clock of video tracks: whole for milliseconds and for
// the usual frame rates.
const VideoTimescale = 90000

// TimescaleOf is the clock for a track: the sampling rate of sound, 90 kHz for
// pictures.
func TimescaleOf(p *codec.Params) uint32 {
	if p.Kind.Audio() {
		return uint32(p.SampleRate)
	}
	return VideoTimescale
}

// Supports reports whether MP4 has a sample entry for the codec here.
func Supports(k codec.Kind) bool {
	switch k {
	case codec.H264, codec.H265, codec.AAC, codec.ALaw, codec.MuLaw, codec.Opus:
		return true
	}
	return false
}

// Init returns the initialization segment (ftyp, moov) for the tracks.
func Init(tracks ...Track) ([]byte, error) {
	w := &writer{b: make([]byte, 0, 1024)}
	ftyp(w, "iso5", "iso5", "iso6", "mp41", "cmfc")
	moov := w.open("moov")
	movieHeader(w, 0, tracks)
	for _, t := range tracks {
		at, err := trackHead(w, t)
		if err != nil {
			return nil, err
		}
		for _, name := range []string{"stts", "stsc"} {
			box := w.openFull(name, 0, 0)
			w.u32(0)
			w.close(box)
		}
		stsz := w.openFull("stsz", 0, 0)
		w.u64(0)
		w.close(stsz)
		stco := w.openFull("stco", 0, 0)
		w.u32(0)
		w.close(stco)
		trackTail(w, at)
	}
	mvex := w.open("mvex")
	for _, t := range tracks {
		trex := w.openFull("trex", 0, 0)
		w.u32(t.ID)
		w.u32(1) // sample description
		w.zero(12)
		w.close(trex)
	}
	w.close(mvex)
	w.close(moov)
	return w.b, nil
}

func ftyp(w *writer, major string, compatible ...string) {
	at := w.open("ftyp")
	w.text(major)
	w.u32(512)
	for _, c := range compatible {
		w.text(c)
	}
	w.close(at)
}

// movieTimescale counts the movie's own duration.
const movieTimescale = 1000

func movieHeader(w *writer, duration uint64, tracks []Track) {
	at := w.openFull("mvhd", 1, 0)
	w.zero(16) // creation and modification: not told, so that equal media are equal bytes
	w.u32(movieTimescale)
	w.u64(duration)
	w.u32(0x00010000) // rate 1
	w.u16(0x0100)     // volume 1
	w.zero(10)
	matrix(w)
	w.zero(24)
	next := uint32(0)
	for _, t := range tracks {
		next = max(next, t.ID)
	}
	w.u32(next + 1)
	w.close(at)
}

func matrix(w *writer) {
	for _, v := range [9]uint32{0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000} {
		w.u32(v)
	}
}

// trackHead writes a trak as far as the sample description and leaves the boxes
// it returns open, outermost first.
func trackHead(w *writer, t Track) ([4]int, error) {
	p := t.Params
	trak := w.open("trak")
	tkhd := w.openFull("tkhd", 1, 3) // enabled, in the movie
	w.zero(16)
	w.u32(t.ID)
	w.u32(0)
	w.u64(t.Duration * movieTimescale / uint64(t.Timescale))
	w.zero(8)
	w.u16(0) // layer
	w.u16(0) // alternate group
	if p.Kind.Audio() {
		w.u16(0x0100)
	} else {
		w.u16(0)
	}
	w.u16(0)
	matrix(w)
	if p.Kind.Audio() {
		w.zero(8)
	} else {
		w.u32(uint32(p.Width) << 16)
		w.u32(uint32(p.Height) << 16)
	}
	w.close(tkhd)
	mdia := w.open("mdia")
	mdhd := w.openFull("mdhd", 1, 0)
	w.zero(16)
	w.u32(t.Timescale)
	w.u64(t.Duration)
	w.u16(0x55c4) // und
	w.u16(0)
	w.close(mdhd)
	hdlr := w.openFull("hdlr", 0, 0)
	w.u32(0)
	if p.Kind.Audio() {
		w.text("soun")
	} else {
		w.text("vide")
	}
	w.zero(12)
	w.text("sluice\x00")
	w.close(hdlr)
	minf := w.open("minf")
	if p.Kind.Audio() {
		at := w.openFull("smhd", 0, 0)
		w.u32(0)
		w.close(at)
	} else {
		at := w.openFull("vmhd", 0, 1)
		w.zero(8)
		w.close(at)
	}
	dinf := w.open("dinf")
	dref := w.openFull("dref", 0, 0)
	w.u32(1)
	url := w.openFull("url ", 0, 1) // in this file
	w.close(url)
	w.close(dref)
	w.close(dinf)
	stbl := w.open("stbl")
	stsd := w.openFull("stsd", 0, 0)
	w.u32(1)
	if err := sampleEntry(w, p); err != nil {
		return [4]int{}, err
	}
	w.close(stsd)
	return [4]int{trak, mdia, minf, stbl}, nil
}

func trackTail(w *writer, open [4]int) {
	for i := len(open) - 1; i >= 0; i-- {
		w.close(open[i])
	}
}

func sampleEntry(w *writer, p *codec.Params) error {
	switch p.Kind {
	case codec.H264:
		visualEntry(w, "avc1", "avcC", p)
	case codec.H265:
		visualEntry(w, "hvc1", "hvcC", p)
	case codec.AAC:
		at := audioEntry(w, "mp4a", p)
		esds(w, p.Config)
		w.close(at)
	case codec.ALaw:
		w.close(audioEntry(w, "alaw", p))
	case codec.MuLaw:
		w.close(audioEntry(w, "ulaw", p))
	case codec.Opus:
		at := audioEntry(w, "Opus", p)
		dops := w.open("dOps")
		w.u8(p.Config...)
		w.close(dops)
		w.close(at)
	default:
		return fmt.Errorf("%s in MP4: %w", p.Kind, codec.ErrUnsupported)
	}
	return nil
}

func visualEntry(w *writer, name, config string, p *codec.Params) {
	at := w.open(name)
	w.zero(6)
	w.u16(1) // data reference
	w.zero(16)
	w.u16(uint16(min(p.Width, 0xffff)))
	w.u16(uint16(min(p.Height, 0xffff)))
	w.u32(0x00480000) // 72 dpi
	w.u32(0x00480000)
	w.u32(0)
	w.u16(1)   // frames a sample
	w.zero(32) // compressor name
	w.u16(0x0018)
	w.u16(0xffff)
	box := w.open(config)
	w.u8(p.Config...)
	w.close(box)
	w.close(at)
}

func audioEntry(w *writer, name string, p *codec.Params) int {
	at := w.open(name)
	w.zero(6)
	w.u16(1)
	w.zero(8)
	w.u16(uint16(p.Channels))
	w.u16(16)
	w.u32(0)
	rate := uint32(p.SampleRate)
	if rate > 0xffff {
		rate = 0 // does not fit in 16.16; the codec's own configuration tells it
	}
	w.u32(rate << 16)
	return at
}

// esds wraps the AudioSpecificConfig in the descriptors of 14496-1. Lengths take
// one byte each: the config is at most 64 bytes here.
func esds(w *writer, config []byte) {
	if len(config) > 64 {
		config = config[:64]
	}
	n := byte(len(config))
	at := w.openFull("esds", 0, 0)
	w.u8(3, 23+n, 0, 0, 0) // ES descriptor, ES_ID 0
	w.u8(4, 15+n, 0x40, 0x15, 0, 0, 0)
	w.u32(0) // bit rates: not told
	w.u32(0)
	w.u8(5, n)
	w.u8(config...)
	w.u8(6, 1, 2) // SL config: predefined for MP4
	w.close(at)
}
