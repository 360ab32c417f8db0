package producer

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

// run is the control loop: it opens sessions, watches them, and applies what goes
// by the clock. One goroutine a stream.
func (s *Stream) run() {
	defer close(s.ended)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		wait, over := s.step(time.Now())
		if over {
			break
		}
		timer.Reset(wait)
		select {
		case <-s.kick:
		case <-timer.C:
		case <-s.ctx.Done():
		}
	}
	s.cancel(errClosed)
	s.wg.Wait()
	s.close()
}

// errClosed ends what is still open when a stream is over.
var errClosed = errors.New("the stream is closed")

const (
	// tick is how often the clock is looked at while media flows.
	tick = 500 * time.Millisecond
	// lastAcks is how long a session may take to end after the last byte and the
	// last acknowledgement that was due.
	lastAcks = 5 * time.Second
)

// step does what is due and says when to look again.
func (s *Stream) step(now time.Time) (wait time.Duration, over bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() != nil || s.failed != nil {
		return 0, true
	}
	_ = s.drainLocked(now, s.stopping) // no room: the next PutFrame makes some
	s.idleLocked(now)
	s.spillOldLocked(now)
	s.trimBufferLocked()
	s.pressuresLocked()
	for _, ss := range s.draining {
		s.watchLocked(ss, now)
	}
	if s.active != nil {
		s.watchLocked(s.active, now)
	}
	work := s.firstQueuedLocked() != nil
	if s.stopping && !work && s.open == nil && s.active == nil && len(s.draining) == 0 && !s.pendingLocked() {
		return 0, true
	}
	if s.active == nil && work {
		if wait := s.retryAt.Sub(now); wait > 0 {
			return min(wait, tick), false
		}
		s.startSessionLocked(now)
	}
	if s.active == nil && len(s.draining) == 0 && s.open == nil && !s.pendingLocked() {
		return time.Hour, false
	}
	return tick, false
}

func (s *Stream) pendingLocked() bool {
	for _, t := range s.tracks {
		if t.pending.len() > 0 {
			return true
		}
	}
	return false
}

func (s *Stream) startSessionLocked(now time.Time) {
	s.sessions++
	ctx, cancel := context.WithCancelCause(s.ctx)
	ss := &session{
		s: s, id: s.sessions, ctx: ctx, cancel: cancel,
		open: make(chan struct{}), wake: newBell(), closed: make(chan struct{}), begun: now, expires: now.Add(MaxConnectionAge),
	}
	context.AfterFunc(ctx, ss.wake.ring)
	s.active = ss
	s.wg.Go(ss.run)
}

// watchLocked ends a session that is old or does not answer.
func (s *Stream) watchLocked(ss *session, now time.Time) {
	if ss.opened.IsZero() {
		return // the call has its own deadline
	}
	if !ss.ended && !ss.wantEnd && now.After(ss.expires) {
		ss.wantEnd = true
		ss.wakeUp()
	}
	if ss.wantEnd && !ss.ended && now.Sub(ss.expires) > 3*time.Minute {
		// No boundary came. The service would end the session before long.
		ss.over = true
		ss.cancel(errEarly)
		return
	}
	if ss.ended && len(ss.unacked) == 0 {
		if now.Sub(ss.lastAck) > lastAcks {
			ss.over = true
			ss.cancel(errClosed)
		}
		return
	}
	if since := s.overdueLocked(ss, now); since > s.info.ConnectionStaleness {
		s.m.staleEvents++
		s.events.send(ConnectionStale{since})
		s.log.Warn("connection stale", "session", ss.id, "since", since)
		ss.over = true
		ss.cancel(errStale)
	}
}

// overdueLocked is how long an acknowledgement has been due: for a Cluster that
// was begun, or for a fragment that is wholly sent. Each acknowledgement that
// comes starts the wait anew.
func (s *Stream) overdueLocked(ss *session, now time.Time) time.Duration {
	if s.info.NoAcks {
		if ss.ended {
			return now.Sub(ss.endedAt)
		}
		return 0
	}
	var due time.Time
	for i, f := range ss.unacked {
		switch {
		case !f.buffering:
			due = f.beganAt
		case f.state == sent && (i+1 < len(ss.unacked) || f.explicit || ss.ended):
			due = f.sentAt // the next Cluster, or the end, has told the service that it is whole
		default:
			continue
		}
		break
	}
	if due.IsZero() {
		if ss.ended && len(ss.unacked) > 0 {
			return now.Sub(ss.lastAck)
		}
		return 0
	}
	if ss.lastAck.After(due) {
		due = ss.lastAck
	}
	return now.Sub(due)
}

// idleLocked ends the fragment and the session of a source that fell silent.
func (s *Stream) idleLocked(now time.Time) {
	if s.lastPut.IsZero() || now.Sub(s.lastPut) < s.info.IdleTimeout {
		return
	}
	if s.open != nil {
		s.closeLocked(now, true)
	}
	if a := s.active; a != nil && !a.opened.IsZero() && !a.wantEnd {
		a.wantEnd = true
		a.wakeUp()
	}
}

// trimBufferLocked holds the buffer to BufferDuration. Durations are added up: a
// clock that jumps ahead makes no media old.
func (s *Stream) trimBufferLocked() {
	if s.info.Type == Offline {
		return
	}
	for s.bufferedLocked() > s.info.BufferDuration && s.evictLocked(DropBuffer) {
	}
}

// bufferedLocked is the duration of the media in memory.
func (s *Stream) bufferedLocked() (d time.Duration) {
	for _, f := range s.frags {
		if len(f.chunks) > 0 {
			d += f.end - f.start
		}
	}
	return d
}

// unsentLocked is the duration and size of the media that no session has sent.
func (s *Stream) unsentLocked() (d time.Duration, bytes int64) {
	for _, f := range s.frags {
		switch {
		case f.state == queued:
			d += f.end - f.start
			bytes += int64(f.size)
		case f.state == sending && f.session.cur == f:
			n := f.size - f.session.off
			bytes += int64(n)
			d += time.Duration(float64(f.end-f.start) * float64(n) / float64(max(f.size, 1)))
		}
	}
	return d, bytes
}

func (s *Stream) pressuresLocked() {
	if s.info.Type == Offline {
		return
	}
	latency, _ := s.unsentLocked()
	if limit := s.info.MaxLatency; limit > 0 {
		switch {
		case latency > limit && !s.pressure.latency:
			s.pressure.latency = true
			s.m.latencyPressures++
			s.events.send(LatencyPressure{latency})
		case latency < limit/2:
			s.pressure.latency = false
		}
	}
	if s.retention != NoRetention {
		left := s.info.BufferDuration - s.bufferedLocked()
		switch {
		case left <= s.info.BufferDuration/20 && !s.pressure.buffer:
			s.pressure.buffer = true
			s.m.bufferPressures++
			s.events.send(BufferPressure{max(left, 0)})
		case left > s.info.BufferDuration/10:
			s.pressure.buffer = false
		}
	}
	s.client.storagePressure(s)
}

// backlogEventLocked tells of media that no session takes yet.
func (s *Stream) backlogEventLocked(f *fragment) {
	if s.active == nil {
		d, bytes := s.unsentLocked()
		s.events.send(DataAvailable{d, bytes})
	}
}

// backoff counts the failures in a row.
type backoff struct {
	failures int
}

// The waits between tries: full jitter is added, as by the official producer, but
// the cap is a few seconds, because a camera that is back on its network wants to
// send.
const (
	firstWait   = 100 * time.Millisecond
	mostWait    = 4 * time.Second  // the network, the server
	mostLimited = 8 * time.Second  // throttled
	mostRefused = 15 * time.Second // not authorised, not active: somebody has to act
)

func (b *backoff) next(most time.Duration) time.Duration {
	b.failures++
	wait := most / 2
	if b.failures < 10 {
		wait = min(firstWait<<(b.failures-1), most/2)
	}
	return wait + rand.N(wait)
}

// afterLocked decides what follows a session that ended with err: nothing, or
// another try after a wait.
func (s *Stream) afterLocked(ss *session, err error, now time.Time) {
	if err == nil || errors.Is(err, errReset) || errors.Is(err, errNoSpace) {
		s.backoff = backoff{}
		s.retryAt = time.Time{}
		return
	}
	if s.ctx.Err() != nil {
		return
	}
	kind := kindOf(err)
	if kind == failFinal || s.info.NoRestart {
		s.failLocked(err)
		return
	}
	if ss.progress || !ss.opened.IsZero() && now.Sub(ss.opened) > 10*time.Second {
		s.backoff = backoff{}
	}
	switch kind {
	case failAuth:
		s.client.forgetCredentials()
	case failGone:
		s.ready = false
	}
	wait := s.backoff.next(kind.mostWait())
	s.retryAt = now.Add(wait)
	s.m.reconnects++
	s.m.lastError = err
	s.events.send(Reconnecting{Attempt: s.backoff.failures, Wait: wait, Err: err})
	if ss.cause == nil {
		s.events.send(StreamError{Err: err})
	}
	if s.backoff.failures == 1 || s.backoff.failures%20 == 0 {
		s.log.Warn("reconnecting", "attempt", s.backoff.failures, "wait", wait, "error", err)
	}
}

// failLocked ends the stream for good.
func (s *Stream) failLocked(err error) {
	if s.failed == nil {
		s.failed = err
		s.events.send(StreamError{Err: err, Final: true})
		s.log.Error("stream failed", "error", err)
	}
}

// ResetConnection ends the stream's sessions and begins a new one. Nothing is
// lost: what was not acknowledged is sent again.
func (s *Stream) ResetConnection() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, ss := range append([]*session{s.active}, s.draining...) {
		if ss != nil {
			ss.over = true
			ss.cancel(errReset)
		}
	}
	s.retryAt = time.Time{}
	s.wakeLoop()
}

// Discard throws away what is buffered and reports it as dropped. The stream goes
// on at the next key frame.
func (s *Stream) Discard() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range append([]*fragment(nil), s.frags...) {
		s.loseLocked(f, DropDiscarded, nil)
	}
	s.dropPendingLocked()
	s.wakeLoop()
}

func (s *Stream) dropPendingLocked() {
	for _, t := range s.tracks {
		for t.pending.len() > 0 {
			n := int64(len(t.pending.front().Data))
			t.pending.pop()
			s.held.Add(-n)
			s.client.store.release(n)
		}
	}
}

// Report is what a stream leaves behind.
type Report struct {
	// Undelivered are the fragments that were not acknowledged as persisted (or
	// received, without retention); Spooled of them lie on disk and are sent when
	// the stream is next opened.
	Undelivered []Range
	Spooled     int
	Err         error // what ended the stream before Stop, or what Stop ran into
}

// Stop ends the stream: the open fragment is completed, what is buffered is sent,
// and the last acknowledgements are awaited. When ctx ends first, what is left is
// given up, or stays in the spool, and is reported. Stop may be called twice; it
// must not be called from the event handler.
func (s *Stream) Stop(ctx context.Context) (Report, error) {
	s.mu.Lock()
	if !s.stopping {
		s.stopping = true
		now := time.Now()
		for s.drainLocked(now, true) != nil { // no room: the oldest makes way
			if !s.evictLocked(DropStorage) {
				break
			}
		}
		if s.open != nil {
			s.closeLocked(now, true)
		}
		s.skip.flush(s)
		s.repair.flush(s)
		if s.active != nil {
			s.active.wakeUp()
		}
		s.retryAt = time.Time{}
	}
	s.mu.Unlock()
	s.wakeLoop()
	var err error
	select {
	case <-s.stopped:
	case <-ctx.Done():
		err = context.Cause(ctx)
		s.cancel(err)
		<-s.stopped
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.m.report.Err == nil {
		s.m.report.Err = err
	}
	return s.m.report, s.m.report.Err
}

// close is the end of the control loop: what is left is reported.
func (s *Stream) close() {
	s.spoolRest()
	s.mu.Lock()
	r := Report{Err: s.failed}
	for _, f := range append([]*fragment(nil), s.frags...) {
		if f.state == done {
			continue
		}
		r.Undelivered = append(r.Undelivered, s.rangeOf(f))
		if f.disk.file != nil {
			r.Spooled++
			f.state = done
			s.freeLocked(f)
			continue
		}
		s.loseLocked(f, DropStopped, s.failed)
	}
	s.frags, s.open = nil, nil
	s.dropPendingLocked()
	s.skip.flush(s)
	s.repair.flush(s)
	s.stopping = true
	s.m.report = r
	s.mu.Unlock()
	s.closeSpool()
	s.client.forget(s) // before it is told: the handler may make another of the name
	s.events.send(StreamClosed{Err: r.Err})
	close(s.stopped)
}

// mediaTypeOf is the MediaType of CreateStream.
func (s *Stream) mediaType() string { return s.info.ContentType }
