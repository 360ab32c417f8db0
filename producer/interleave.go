package producer

import "time"

// drainLocked moves queued frames into fragments, earliest first, for as long as
// the next is known: every track that is not silent has one, or has kept the
// others waiting for TrackWait. all takes them without waiting.
func (s *Stream) drainLocked(now time.Time, all bool) error {
	if len(s.tracks) == 1 {
		return nil
	}
	for {
		var first *track
		missing := false
		for _, t := range s.tracks {
			if t.pending.len() == 0 {
				missing = missing || !t.silent
				continue
			}
			if first == nil || t.pending.front().DTS < first.pending.front().DTS {
				first = t
			}
		}
		if first == nil {
			return nil
		}
		p := first.pending.front()
		if missing && !all {
			if now.Sub(p.at) < s.patienceLocked() && first.pending.len() < maxPending {
				return nil
			}
			for _, t := range s.tracks {
				if t.pending.len() == 0 && !t.silent {
					t.silent = true
					s.log.Debug("a track is silent; the others go on", "track", t.info.Number)
				}
			}
		}
		if err := s.emitLocked(first, &p.Frame, now); err != nil {
			return err
		}
		s.lastEmitted, s.haveEmitted = p.DTS, true
		n := int64(len(p.Data))
		first.pending.pop()
		s.held.Add(-n)
		s.client.store.release(n)
	}
}

// patienceLocked is how long a frame waits for the other tracks now: TrackWait, more
// when a track was seen to arrive later than that, and more before the first
// picture, because encoders of pictures have to get going.
func (s *Stream) patienceLocked() time.Duration {
	if s.header == nil && s.cutter.pending.len() == 0 {
		return max(startPatience*s.info.TrackWait, s.trackWait)
	}
	return max(s.info.TrackWait, s.trackWait)
}

const (
	startPatience = 3
	mostPatience  = 10 // times TrackWait
)

// cameBackLocked takes note of a track that was given up and is there again. When
// its frames are older than what has gone out, it was not silent but late, and will
// be late again: from now on the others wait for as long as it takes.
func (s *Stream) cameBackLocked(t *track, f *Frame) {
	t.silent = false
	if !s.haveEmitted || f.DTS >= s.lastEmitted {
		return
	}
	wait := s.patienceLocked() + (s.lastEmitted - f.DTS) + s.info.TrackWait/4
	if wait = min(wait, mostPatience*s.info.TrackWait); wait > s.trackWait {
		s.trackWait = wait
		s.log.Info("a track arrives late; the others wait for it", "track", t.info.Number, "wait", wait)
	}
}
