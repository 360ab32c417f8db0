package producer

import (
	"context"
	"time"

	"github.com/sluicevideo/sluice"
)

// FileOptions say how a source of recorded media plays it.
type FileOptions struct {
	// Start is the producer time of the first frame. Zero: now.
	Start time.Time
	// KeepTimes takes the times in the file as times of the clock, for files that
	// were recorded from streams with absolute timecodes. Start is then not used.
	KeepTimes bool
	// Realtime puts frames at the pace of their times. Otherwise they are put as
	// fast as the stream takes them.
	Realtime bool
	// Loop begins again at the end, with times that go on, until ctx ends.
	Loop bool
}

// feeder puts the frames of a recording, with times moved to where they belong.
type feeder struct {
	o      FileOptions
	s      *Stream
	first  time.Duration // of the recording, which becomes Start: that of its first picture
	have   bool
	preset bool          // first is known beforehand
	base   time.Duration // what is added to a time
	begun  time.Time     // by the wall clock
	end    time.Duration // where the recording ends
	frames int
	step   time.Duration // between the last two frames
	last   time.Duration
}

// fileInfo is what sources of recorded media say of their stream beside its
// tracks. PTS are of the clock, in relative streams too.
func fileInfo(tracks []sluice.Track, o FileOptions) StreamInfo {
	info := StreamInfo{Tracks: tracks, Start: time.Unix(0, 0)}
	if !o.Realtime {
		info.Type = Offline
	}
	return info
}

// put puts a frame with the recording's own times.
func (f *feeder) put(ctx context.Context, fr Frame) error {
	if err := ctx.Err(); err != nil {
		return err // a stream that always has room never waits, so nobody else asks
	}
	if !f.have {
		f.have = true
		if !f.preset {
			f.first = fr.PTS
		}
		if f.begun.IsZero() {
			f.begun = time.Now()
		}
		if !f.o.KeepTimes {
			start := f.o.Start
			if start.IsZero() {
				start = f.begun
			}
			if f.frames == 0 {
				f.base = time.Duration(start.UnixNano()) - f.first
			}
		}
	}
	at := fr.PTS
	if !fr.NoDTS {
		at = fr.DTS
	}
	if f.o.Realtime {
		due := f.begun.Add(f.played() + at - f.first)
		if wait := time.Until(due); wait > 0 {
			t := time.NewTimer(wait)
			select {
			case <-t.C:
			case <-ctx.Done():
				t.Stop()
				return ctx.Err()
			}
		}
	}
	if d := fr.PTS - f.last; d > 0 && d < time.Second {
		f.step = d
	}
	f.last = fr.PTS
	f.end = max(f.end, fr.PTS+fr.Duration)
	f.frames++
	fr.PTS += f.base
	fr.DTS += f.base
	return f.s.PutFrame(ctx, fr)
}

// played is how much was played before this round.
func (f *feeder) played() time.Duration { return f.base - f.baseAtBegin() }

func (f *feeder) baseAtBegin() time.Duration {
	if f.o.KeepTimes {
		return 0
	}
	start := f.o.Start
	if start.IsZero() {
		start = f.begun
	}
	return time.Duration(start.UnixNano()) - f.first
}

// again begins the next round: its first frame follows the last one of this.
func (f *feeder) again() {
	length := f.end - f.first
	if f.end == f.last { // the last frame does not say how long it is
		length += f.step
	}
	f.base += max(length, time.Millisecond)
	f.have, f.end, f.last = false, 0, 0
}
