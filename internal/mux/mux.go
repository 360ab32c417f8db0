// Package mux holds what the containers have in common: a frame on its way into
// one, and the decoding times that Matroska does not store. fmp4 and ts are the
// containers. Nothing here is transcoded, and frames are never copied: a Sample
// aliases the fragment it was cut from.
package mux

import (
	"math/bits"
	"slices"
	"time"
)

// Sample is one frame to be packaged.
type Sample struct {
	Data     []byte        // as stored; read only, aliases the fragment
	PTS      time.Duration // presentation time on the output's timeline
	DTS      time.Duration // decoding time; Schedule fills it
	Duration time.Duration // how long it is shown; Schedule fills it
	Key      bool
}

// Schedule fills DTS and Duration of one fragment's frames of one track, which
// stand in decoding order and carry their presentation times only.
//
// The n-th frame decodes when the n-th picture in order of presentation is
// shown. With reordered pictures that puts some DTS behind the PTS, which MP4
// states as a negative composition offset; what needs DTS ≤ PTS (MPEG-TS) moves
// all of them by Shift. So the durations add up to the span from the first
// picture shown to the end of the last, and fragments join without a seam.
//
// last is how long the last frame is shown; 0 takes the mean of the others, or
// whatever its Duration says when it is alone. Equal presentation times give
// equal decoding times and a duration of 0.
func Schedule(s []Sample, last time.Duration) {
	n := len(s)
	if n == 0 {
		return
	}
	sorted := true
	for i := range s {
		s[i].DTS = s[i].PTS
		sorted = sorted && (i == 0 || s[i-1].PTS <= s[i].PTS)
	}
	if !sorted {
		times := make([]time.Duration, n)
		for i := range s {
			times[i] = s[i].PTS
		}
		slices.Sort(times)
		for i := range s {
			s[i].DTS = times[i]
		}
	}
	if last == 0 {
		last = s[n-1].Duration
		if n > 1 && (last == 0 || !sorted) {
			last = (s[n-1].DTS - s[0].DTS) / time.Duration(n-1)
		}
	}
	for i := range n - 1 {
		s[i].Duration = s[i+1].DTS - s[i].DTS
	}
	s[n-1].Duration = last
}

// Shift is how much earlier decoding must be than Schedule says so that no frame
// is shown before it is decoded; 0 without reordered pictures.
func Shift(s []Sample) time.Duration {
	var shift time.Duration
	for i := range s {
		shift = max(shift, s[i].DTS-s[i].PTS)
	}
	return shift
}

// Ticks is d in units of 1/rate seconds, rounded to the nearest. It holds for
// times since the epoch in every rate below 2^32.
func Ticks(d time.Duration, rate uint32) int64 {
	neg := d < 0
	if neg {
		d = -d
	}
	hi, lo := bits.Mul64(uint64(d), uint64(rate))
	lo, carry := bits.Add64(lo, uint64(time.Second)/2, 0)
	hi += carry
	if hi >= uint64(time.Second) {
		hi = uint64(time.Second) - 1 // out of any media's range; Div64 must not overflow
	}
	q, _ := bits.Div64(hi, lo, uint64(time.Second))
	if neg {
		return -int64(q)
	}
	return int64(q)
}
