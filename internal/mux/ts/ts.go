// Package ts writes MPEG transport stream segments (ISO/IEC 13818-1) for HLS:
// one program, H.264 or H.265 with its parameter sets in front of every key
// frame, AAC as ADTS. A segment is made from one fragment alone and decodes by
// itself, yet segments put one behind the other are a continuous stream:
//
//   - every elementary stream has a multiple of 16 packets in a segment (the last
//     packets are stuffed), so its continuity counter goes on from 15 to 0;
//   - the tables (PAT, PMT) stand once, at the start, and count with the
//     segment's position in the stream, which the caller knows;
//   - times are those of the caller's timeline plus a constant.
//
// So nothing has to be remembered between requests. Transport packets hold 184
// bytes, so this is the one container whose payload has to be copied.
package ts

import (
	"fmt"
	"time"

	"github.com/sluicevideo/sluice/internal/codec"
	"github.com/sluicevideo/sluice/internal/mux"
)

const (
	packetSize = 188
	pidPMT     = 0x1000
	pidFirst   = 0x0100 // of the elementary streams, in the order of the runs

	clockRate = 90000
	// timeOffset keeps decoding times and clock references of the timeline's
	// first frames above 0.
	timeOffset = 10 * time.Second
	// clockLead is how far the clock reference lies before the decoding time: what
	// a decoder buffers. Key frames arrive at once, so it has to cover theirs.
	clockLead = 500 * time.Millisecond
	// maxClockGap: 13818-1 §2.7.2 wants a reference each 100 ms.
	maxClockGap = 90 * time.Millisecond
	// maxStill bounds for how long clock references go on behind a segment's last
	// frame when that claims to last longer.
	maxStill = 20 * time.Second
)

// Supports reports whether the codec has a place in a segment.
func Supports(k codec.Kind) bool {
	return k == codec.H264 || k == codec.H265 || k == codec.AAC
}

// Run is what one track has in a segment.
type Run struct {
	Params  *codec.Params
	Samples []mux.Sample // in decoding order, scheduled
}

// AppendSegment appends a segment to b. position is its place in the stream,
// counted without gaps where it follows the one before. Runs must stand in the
// same order in every segment of a stream, the pictures first; a run without
// samples still has its place in the tables.
func AppendSegment(b []byte, position uint64, runs ...Run) ([]byte, error) {
	if len(runs) == 0 || len(runs) > 8 {
		return b, fmt.Errorf("%d tracks in a transport stream, must be 1 to 8", len(runs))
	}
	media := 0
	for _, r := range runs {
		if !Supports(r.Params.Kind) {
			return b, fmt.Errorf("%s in MPEG-TS: %w", r.Params.Kind, codec.ErrUnsupported)
		}
		for i := range r.Samples {
			media += len(r.Samples[i].Data)
		}
	}
	if free := cap(b) - len(b); free < media {
		b = append(make([]byte, 0, len(b)+media+media/16+40*packetSize*len(runs)), b...)
	}
	p := packer{b: b}
	p.tables(position, runs)
	streams := make([]stream, len(runs))
	for i, r := range runs {
		streams[i] = stream{
			run: r, pid: uint16(pidFirst + i), id: 0xe0, clock: i == 0, last: -1,
			// Decoding must lead by the same in every segment, so by what the
			// encoder announces, even where this one needs less.
			shift: max(mux.Shift(r.Samples), announcedShift(r)),
		}
		if r.Params.Kind.Audio() {
			streams[i].id = 0xc0
		}
	}
	for {
		// The earliest next unit goes first.
		var next *stream
		for i := range streams {
			s := &streams[i]
			if s.at < len(s.run.Samples) && (next == nil || s.dts() < next.dts()) {
				next = s
			}
		}
		if next == nil {
			p.clocks(&streams[0], streams[0].end())
			return p.b, nil
		}
		if err := p.unit(next); err != nil {
			return b, err
		}
	}
}

func announcedShift(r Run) time.Duration {
	n := len(r.Samples)
	if r.Params.Reorder <= 0 || n < 2 {
		return 0
	}
	mean := (r.Samples[n-1].DTS - r.Samples[0].DTS) / time.Duration(n-1)
	return mean * time.Duration(r.Params.Reorder)
}

// stream is an elementary stream on its way into the segment.
type stream struct {
	run     Run
	at      int // next sample
	pid     uint16
	id      byte // of its PES packets
	counter byte // of the next packet
	clock   bool // carries the clock reference
	last    time.Duration
	shift   time.Duration
	pieces  [][]byte
}

// end is where the next segment's first frame is expected to decode.
func (s *stream) end() time.Duration {
	n := len(s.run.Samples)
	if n == 0 {
		return 0
	}
	last := &s.run.Samples[n-1]
	return last.DTS - s.shift + min(last.Duration, maxStill)
}

func (s *stream) dts() time.Duration { return s.run.Samples[s.at].DTS - s.shift }

// maxAudioPES bounds how much sound goes into one PES packet: headers cost less,
// and a player waits no longer than this for its first sound.
const maxAudioPES = 100 * time.Millisecond

// unit writes the next PES packet of s.
func (p *packer) unit(s *stream) error {
	first := &s.run.Samples[s.at]
	s.pieces = append(s.pieces[:0], nil) // the header's place
	key := first.Key
	if s.run.Params.Kind.Audio() {
		for s.at < len(s.run.Samples) && s.run.Samples[s.at].DTS < first.DTS+maxAudioPES {
			if err := s.sound(s.run.Samples[s.at].Data); err != nil {
				return fmt.Errorf("PID %d, frame %d: %w", s.pid, s.at, err)
			}
			s.at++
		}
	} else {
		if err := s.picture(first); err != nil {
			return fmt.Errorf("PID %d, frame %d: %w", s.pid, s.at, err)
		}
		s.at++
	}
	dts := first.DTS - s.shift
	size := 0
	for _, piece := range s.pieces {
		size += len(piece)
	}
	s.pieces[0] = pesHeader(s.id, size, first.PTS, dts)
	size += len(s.pieces[0])
	if s.clock {
		p.clocks(s, dts)
		s.last = max(dts, 0)
	}
	p.packets(s, size, key, dts)
	return nil
}

func (s *stream) sound(frame []byte) error {
	if codec.IsADTS(frame) {
		s.pieces = append(s.pieces, frame)
		return nil
	}
	header, err := s.run.Params.AAC.AppendADTS(make([]byte, 0, 8), len(frame))
	if err != nil {
		return err
	}
	s.pieces = append(s.pieces, header, frame)
	return nil
}

var (
	startCode = []byte{0, 0, 0, 1}
	// Access unit delimiters: HLS wants one before each picture. "Any slice type".
	h264Delimiter = []byte{0, 0, 0, 1, 0x09, 0xf0}
	h265Delimiter = []byte{0, 0, 0, 1, 0x46, 0x01, 0x50}
)

func (s *stream) picture(f *mux.Sample) error {
	p := s.run.Params
	framing := codec.FramingOf(f.Data, p.Framing)
	if framing == codec.FramingBroken {
		return fmt.Errorf("frame of %d bytes is no sequence of NAL units: %w", len(f.Data), codec.ErrInvalid)
	}
	if p.Kind == codec.H265 {
		s.pieces = append(s.pieces, h265Delimiter)
	} else {
		s.pieces = append(s.pieces, h264Delimiter)
	}
	own := false
	for nal := range codec.NALs(f.Data, framing) {
		own = own || codec.IsParameterSet(p.Kind, nal)
	}
	if f.Key && !own {
		for _, set := range p.ParameterSets {
			s.pieces = append(s.pieces, startCode, set)
		}
	}
	for nal, err := range codec.NALs(f.Data, framing) {
		if err != nil {
			return err
		}
		if !codec.IsDelimiter(p.Kind, nal) {
			s.pieces = append(s.pieces, startCode, nal)
		}
	}
	return nil
}

func ticks(d time.Duration) uint64 {
	return uint64(mux.Ticks(d+timeOffset, clockRate)) & (1<<33 - 1)
}

// pesHeader is the header of a PES packet with size bytes behind it (13818-1
// §2.4.3.6). The DTS stands only where it differs from the PTS.
func pesHeader(id byte, size int, pts, dts time.Duration) []byte {
	p, d := ticks(pts), ticks(dts)
	flags, fields := byte(0x80), 5
	if p != d {
		flags, fields = 0xc0, 10
	}
	length := size + 3 + fields
	if length > 0xffff || id == 0xe0 {
		length = 0 // unbounded, which only video may be
	}
	b := append(make([]byte, 0, 19), 0, 0, 1, id, byte(length>>8), byte(length), 0x84, flags, byte(fields))
	b = appendTime(b, flags>>6, p)
	if p != d {
		b = appendTime(b, 1, d)
	}
	return b
}

func appendTime(b []byte, mark byte, t uint64) []byte {
	return append(b, mark<<4|byte(t>>29)&0xe|1, byte(t>>22), byte(t>>14)|1, byte(t>>7), byte(t<<1)|1)
}
