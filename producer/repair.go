package producer

import "time"

// jumpBack is how far a clock may step back before the frames are taken to be on
// another time line.
const jumpBack = time.Second

// repair gives a frame times that go on from those before. jump says that time
// went back so far that a new session has to begin; moved by how much a time was
// changed.
func (t *track) repair(f *Frame) (pts, dts time.Duration, jump bool, moved time.Duration) {
	pts, dts = f.PTS, f.DTS
	if f.NoDTS {
		dts = pts
	}
	if t.started && dts < t.lastDTS {
		if t.lastDTS-dts > jumpBack && pts < t.lastPTS-jumpBack {
			return pts, dts, true, 0
		}
		if !f.NoDTS {
			moved = t.lastDTS - dts
		}
		dts = t.lastDTS
	}
	return pts, dts, false, moved
}

// skipRun gathers skipped frames into one event.
type skipRun struct {
	Range
	track  uint64
	reason SkipReason
}

func (s *Stream) skippedLocked(t *track, pts time.Duration, f *Frame, size int, why SkipReason) {
	r := &s.skip
	if r.Frames > 0 && (r.reason != why || r.track != t.info.Number) {
		r.flush(s)
	}
	at := s.timeOf(pts)
	if r.Frames == 0 {
		*r = skipRun{Range: Range{Start: at, End: at}, track: t.info.Number, reason: why}
	}
	if at.Before(r.Start) {
		r.Start = at
	}
	if end := at.Add(f.Duration); end.After(r.End) {
		r.End = end
	}
	r.Frames++
	r.Bytes += int64(size)
	s.m.skippedFrames++
}

func (r *skipRun) flush(s *Stream) {
	if r.Frames == 0 {
		return
	}
	s.events.send(FramesSkipped{Range: r.Range, Track: r.track, Reason: r.reason})
	*r = skipRun{}
}

// repairRun gathers repaired times into one event and one warning.
type repairRun struct {
	track  uint64
	frames int
	by     time.Duration
}

func (r *repairRun) add(s *Stream, t *track, moved time.Duration) {
	if moved == 0 {
		r.flush(s)
		return
	}
	r.track, r.by = t.info.Number, max(r.by, moved)
	r.frames++
	s.m.repairedFrames++
}

func (r *repairRun) flush(s *Stream) {
	if r.frames == 0 {
		return
	}
	s.events.send(TimestampRepaired{Track: r.track, Frames: r.frames, By: r.by})
	if s.m.repairedFrames == int64(r.frames) {
		s.log.Warn("times of frames repaired", "track", r.track, "frames", r.frames, "by", r.by)
	}
	*r = repairRun{}
}
