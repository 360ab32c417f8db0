package fmp4

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/sluicevideo/sluice/internal/codec"
	"github.com/sluicevideo/sluice/internal/mux"
)

// Run is what one track has in a media fragment.
type Run struct {
	Track   Track
	Samples []mux.Sample // in decoding order, scheduled; DTS from 0 up
}

// Sample flags of trun (14496-12 §8.8.3.1).
const (
	flagsKey    = 0x02000000 // depends on no other
	flagsNonKey = 0x01010000 // depends on others, is no sync sample
)

// AppendFragment appends a media fragment (moof, mdat) to out: the slices in
// order are the bytes of the segment. sequence is its number in moof. What is
// appended are boxes of our own and slices of the samples' Data, which must not
// change as long as out is used. Runs without samples are left out.
//
// Errors name the track and frame; a frame that is no sequence of NAL units
// wraps codec.ErrInvalid.
func AppendFragment(out [][]byte, sequence uint32, runs ...Run) ([][]byte, error) {
	samples, entries := 0, 0
	for _, r := range runs {
		if n := len(r.Samples); n > 0 {
			samples += n
			entries += 80 + 16*n
		}
	}
	// One array for the boxes, one for the slices; frames with start codes grow
	// the latter, and need one for their lengths.
	w := &writer{b: make([]byte, 0, 32+entries)}
	if need := samples + 1; cap(out)-len(out) < need {
		out = append(make([][]byte, 0, len(out)+need+4), out...)
	}
	head := len(out)
	out = append(out, nil)
	moof := w.open("moof")
	mfhd := w.openFull("mfhd", 0, 0)
	w.u32(sequence)
	w.close(mfhd)
	var payloadSize uint64
	var offsets [8]struct {
		at   int
		from uint64
	}
	runsWritten := 0
	for _, r := range runs {
		if len(r.Samples) == 0 {
			continue
		}
		if runsWritten == len(offsets) {
			return nil, fmt.Errorf("%d tracks in one media fragment, at most %d", len(runs), len(offsets))
		}
		offsets[runsWritten].from = payloadSize
		var err error
		if out, err = r.write(w, out, &payloadSize, &offsets[runsWritten].at); err != nil {
			return nil, err
		}
		runsWritten++
	}
	w.close(moof)
	mdatHead := uint64(8)
	if payloadSize+8 >= 1<<32 {
		mdatHead = 16
	}
	for _, o := range offsets[:runsWritten] {
		binary.BigEndian.PutUint32(w.b[o.at:], uint32(uint64(len(w.b)-moof)+mdatHead+o.from))
	}
	if mdatHead == 16 {
		w.u32(1)
		w.text("mdat")
		w.u64(payloadSize + 16)
	} else {
		w.u32(uint32(payloadSize + 8))
		w.text("mdat")
	}
	out[head] = w.b
	return out, nil
}

// write appends the run's traf to w and its frames to out.
func (r Run) write(w *writer, out [][]byte, total *uint64, offsetAt *int) ([][]byte, error) {
	p, scale := r.Track.Params, r.Track.Timescale
	video := p.Kind.Video()
	traf := w.open("traf")
	tfhd := w.openFull("tfhd", 0, 0x020000) // default base is moof
	w.u32(r.Track.ID)
	w.close(tfhd)
	clock := newClock(r.Samples, p, scale)
	tfdt := w.openFull("tfdt", 1, 0)
	w.u64(uint64(max(clock.dts, 0)))
	w.close(tfdt)
	flags := uint32(0x1 | 0x100 | 0x200) // offset, durations, sizes
	if video {
		flags |= 0x400 | 0x800 // flags, composition offsets
	}
	trun := w.openFull("trun", 1, flags)
	w.u32(uint32(len(r.Samples)))
	*offsetAt = len(w.b)
	w.u32(0)
	var lengths []byte
	for i := range r.Samples {
		s := &r.Samples[i]
		var n int
		var err error
		if out, lengths, n, err = payload(out, lengths, p, s.Data); err != nil {
			return nil, fmt.Errorf("track %d, frame %d: %w", r.Track.ID, i, err)
		}
		if uint64(n) >= 1<<32 {
			return nil, fmt.Errorf("track %d, frame %d: %d bytes", r.Track.ID, i, n)
		}
		duration, offset := clock.next(i)
		w.u32(duration)
		w.u32(uint32(n))
		if video {
			if s.Key {
				w.u32(flagsKey)
			} else {
				w.u32(flagsNonKey)
			}
			w.u32(uint32(offset))
		}
		*total += uint64(n)
	}
	w.close(trun)
	w.close(traf)
	return out, nil
}

// clock turns scheduled times into ticks. Each time is rounded from the absolute
// one, so rounding never adds up; decoding times go up by at least one tick.
type clock struct {
	samples []mux.Sample
	scale   uint32
	dts     int64
	fixed   uint32 // every sample lasts so many ticks: sound with its own count
}

func newClock(s []mux.Sample, p *codec.Params, scale uint32) clock {
	c := clock{samples: s, scale: scale, dts: mux.Ticks(s[0].DTS, scale)}
	// AAC frames last 1024 samples, whatever Matroska's milliseconds made of it;
	// players that follow jittered durations resample. Only where the times do
	// follow the count: a hole stays a hole.
	if p.Kind == codec.AAC {
		const frame, tolerance = 1024, 3 * time.Millisecond
		for i := range s {
			ideal := s[0].DTS + time.Duration(int64(i)*frame*int64(time.Second)/int64(scale))
			if d := s[i].DTS - ideal; d > tolerance || d < -tolerance {
				return c
			}
		}
		c.fixed = frame
	}
	return c
}

// next is the duration and composition offset of sample i, in ticks; it is
// called for each in order.
func (c *clock) next(i int) (duration uint32, offset int32) {
	s := &c.samples[i]
	// Where an earlier frame had to be given a tick of its own, this one's
	// decoding time is later than scheduled; the presentation time stays.
	offset = int32(mux.Ticks(s.PTS, c.scale) - c.dts)
	if c.fixed > 0 {
		return c.fixed, 0
	}
	end := s.DTS + s.Duration
	if i+1 < len(c.samples) {
		end = c.samples[i+1].DTS
	}
	d := min(max(mux.Ticks(end, c.scale)-c.dts, 1), 1<<31)
	c.dts += d
	return uint32(d), offset
}

// Length is the number of bytes in the slices.
func Length(out [][]byte) int64 {
	var n int64
	for _, b := range out {
		n += int64(len(b))
	}
	return n
}
