package producer

import (
	"context"
	"errors"
	"time"

	"github.com/sluicevideo/sluice"
)

// firstQueuedLocked is the fragment to send next.
func (s *Stream) firstQueuedLocked() *fragment {
	for _, f := range s.frags {
		if f.state == queued {
			return f
		}
	}
	return nil
}

// sentFragmentLocked lets go of a fragment that no acknowledgement will come for.
func (s *Stream) sentFragmentLocked(f *fragment) {
	if !s.info.NoAcks {
		return
	}
	// Nobody says what arrived: the newest ReplayDuration is kept to be sent again.
	for _, g := range s.frags {
		if g.state == sent && f.start-g.end >= s.info.ReplayDuration {
			s.finishLocked(g)
			break
		}
	}
}

// finishLocked lets go of a fragment for good.
func (s *Stream) finishLocked(f *fragment) {
	if f.state == done {
		return
	}
	if f.session != nil {
		f.session.forget(f)
	}
	f.state = done
	s.freeLocked(f)
	s.unspoolLocked(f)
	s.popDoneLocked()
}

func (s *Stream) popDoneLocked() {
	n := 0
	for n < len(s.frags) && s.frags[n].state == done {
		s.frags[n] = nil
		n++
	}
	s.frags = s.frags[n:]
	if len(s.frags) == 0 {
		s.frags = nil
	}
}

// freeLocked gives the memory of a fragment back.
func (s *Stream) freeLocked(f *fragment) {
	n := f.held()
	for _, c := range f.chunks {
		s.client.store.put(c)
	}
	f.chunks = nil
	s.held.Add(-n)
	s.client.store.release(n)
}

// loseLocked gives a fragment up and reports it.
func (s *Stream) loseLocked(f *fragment, why DropReason, err error) {
	if f.state == done {
		return
	}
	r := s.rangeOf(f)
	if f == s.open {
		s.open, s.skipRest = nil, true
	}
	if ss := f.session; ss != nil && ss.cur == f {
		// Part of it is on the wire: only the end of the session undoes that.
		ss.cancel(errNoSpace)
		ss.over = true
	}
	s.finishLocked(f)
	s.m.droppedFragments++
	s.m.droppedFrames += int64(r.Frames)
	s.m.addGap(r, why)
	s.events.send(FragmentDropped{Range: r, Reason: why, Err: err, Sent: f.attempts > 0})
	s.log.Warn("fragment dropped", "reason", why.String(), "from", r.Start, "to", r.End, "frames", r.Frames)
}

// evict frees memory of the oldest fragment that can give any. It reports whether
// it did.
func (s *Stream) evict(why DropReason) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.evictLocked(why)
}

func (s *Stream) evictLocked(why DropReason) bool {
	var last *fragment
	for _, f := range s.frags {
		if len(f.chunks) == 0 || f.state == done {
			continue
		}
		switch {
		case f.state == sending || f == s.open:
			if last == nil {
				last = f
			}
			continue
		case f.disk.file != nil:
			s.freeLocked(f)
		case f.state == sent:
			// Its acknowledgement may still come; if not, that is reported then.
			f.released = true
			s.freeLocked(f)
		default:
			s.loseLocked(f, why, nil)
		}
		return true
	}
	if last == nil || why == DropBuffer {
		return false
	}
	s.loseLocked(last, why, nil)
	return true
}

// refusedLocked handles an ERROR acknowledgement (producer semantics, "Acks"):
// what becomes of the fragment it names. Then the session ends.
func (s *Stream) refusedLocked(ss *session, f *fragment, a sluice.Ack) {
	ss.cause = ackError{a.Code}
	at := time.Time{}
	if f != nil {
		at = s.timeIn(f, f.start)
	}
	s.events.send(StreamError{Err: ss.cause, Time: at})
	s.log.Warn("error acknowledgement", "session", ss.id, "code", int(a.Code), "name", a.Code.String(), "fragment", at)
	if f != nil {
		f.refusals++
		switch fate := fateOf(a.Code); {
		case fate == fateSkip, fate == fateOnce && f.refusals > 1:
			s.loseLocked(f, DropRefused, ss.cause)
		case a.Code == sluice.FramesMissingForTrack:
			// The service counts what the header declares: send it as what it is.
			if f.complete {
				s.undeclareLocked(f)
			}
		case a.Code == sluice.FragmentTimecodeLesserThanBefore:
			f.jump = true // as the first of a session it follows nothing
		}
	}
	ss.over = true
	ss.cancel(ss.cause)
}

type fate uint8

const (
	fateAgain fate = iota // the fragment is sent again
	fateOnce              // once; refused again, it is given up
	fateSkip              // the service will never take it
)

// fateOf says what becomes of a fragment that the service answered with an error.
// The official producer gives up every fragment but those of 4000, 4003, 5000,
// 5001 and unknown ids. Errors that are not of the fragment (the stream is not
// active, its key is not to be had) keep it here too, and 4004, 4006 and 4011 are
// tried once more, as the first of a new session.
func fateOf(c sluice.AckErrorCode) fate {
	switch c {
	case sluice.MaxFragmentSizeReached, sluice.MaxFragmentDurationReached, sluice.InvalidProducerTimestamp,
		sluice.FragmentMetadataLimitReached, sluice.TrackNumberMismatch, sluice.MoreThanAllowedTracksFound, sluice.MoreThanOneTrackFound:
		return fateSkip
	case sluice.FragmentTimecodeLesserThanBefore, sluice.InvalidMKVData, sluice.FramesMissingForTrack:
		return fateOnce
	}
	return fateAgain
}

// hostAlive reports whether a session that ended with err leaves a host behind
// that still has what it has RECEIVED (producer semantics, "Roll-back").
func hostAlive(err error) bool {
	var a ackError
	if errors.As(err, &a) {
		switch c := a.code; {
		case c == sluice.StreamReadError, c == sluice.MaxConnectionDurationReached, c == sluice.StreamNotActive,
			c >= sluice.KMSKeyAccessDenied && c <= sluice.StreamDeleted, c == sluice.InternalError, c == sluice.ArchivalError:
			return true
		}
		return false
	}
	if err == nil {
		return true
	}
	switch kindOf(err) {
	case failLimit:
		return true
	case failAuth:
		return statusOf(err) == 401
	}
	return false
}

// sessionOver takes back what a session did not deliver.
func (s *Stream) sessionOver(ss *session, err error) {
	if errors.Is(err, context.Canceled) && context.Cause(ss.ctx) != nil {
		err = context.Cause(ss.ctx)
	}
	ss.cancel(err)
	s.mu.Lock()
	ss.over = true
	if s.active == ss {
		s.active = nil
	}
	for i, d := range s.draining {
		if d == ss {
			s.draining = append(s.draining[:i], s.draining[i+1:]...)
			break
		}
	}
	now := time.Now()
	left := len(ss.unacked)
	s.takeBackLocked(ss, err)
	s.m.sessionOver(ss, now)
	opened := ss.opened
	if err == errClosed {
		err = nil
	}
	if err == nil && left > 0 && !ss.progress && s.retention != NoRetention && !s.info.NoAcks {
		err = errTooLong // it ended well and answered nothing: no reason to hurry
	}
	s.afterLocked(ss, err, now)
	if s.active != nil {
		s.active.wakeUp()
	}
	s.mu.Unlock()
	if !opened.IsZero() {
		s.events.send(SessionClosed{ss.id, err, now.Sub(opened)})
	}
	s.log.Debug("session closed", "session", ss.id, "error", err)
	s.wakeLoop()
}

// takeBackLocked queues what a session had begun and not delivered, by the rules
// of roll-back.
func (s *Stream) takeBackLocked(ss *session, cause error) {
	if s.info.NoAcks && cause == nil {
		for len(ss.unacked) > 0 {
			s.finishLocked(ss.unacked[0])
		}
		return
	}
	alive := hostAlive(cause)
	newest := -1
	for i, f := range ss.unacked {
		if f.received {
			newest = i
		}
	}
	front := s.newestPTS
	if ss.cur != nil {
		front = ss.cur.maxPTS
	} else if n := len(ss.unacked); n > 0 {
		front = ss.unacked[n-1].maxPTS
	}
	for i, f := range append([]*fragment(nil), ss.unacked...) {
		switch {
		case alive && i <= newest:
			s.finishLocked(f)
		case f.received && f.maxPTS < front-s.info.ReplayDuration:
			s.loseLocked(f, DropReplay, cause)
		case f.released && f.disk.file == nil:
			s.loseLocked(f, DropUnanswered, cause)
		default:
			f.state, f.session = queued, nil
			if f.complete {
				s.undeclareLocked(f)
			}
		}
	}
	ss.unacked, ss.cur, ss.pending = nil, nil, nil
}
