package producer

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/kvsapi"
	"github.com/sluicevideo/sluice/mkv"
)

// session is one PutMedia request. It is the request's body: the transport reads
// it. The stream's mutex guards what is below mu.
type session struct {
	s      *Stream
	id     int64
	ctx    context.Context
	cancel context.CancelCauseFunc
	open   chan struct{} // closed once the service has accepted the request
	wake   *bell         // there may be something to send
	closed chan struct{} // by Close
	once   sync.Once

	// mu: s.mu
	header   *header
	base     int64 // ticks that the session's timecodes count from
	pending  []byte
	scratch  []byte
	cur      *fragment
	off      int // of the blocks of cur
	lastSeq  int64
	explicit bool        // what was sent last ended with END_OF_FRAGMENT
	unacked  []*fragment // begun and not acknowledged for good, in order
	wantEnd  bool        // at the next boundary between fragments
	ended    bool        // the body's end was, or is about to be, handed out
	over     bool        // nothing may be read any more
	cause    error       // an ERROR acknowledgement
	begun    time.Time   // when it was asked for
	opened   time.Time   // when it was accepted
	expires  time.Time   // when it has to make way for the next
	endedAt  time.Time
	lastAck  time.Time
	progress bool // a fragment was received or persisted
}

var (
	errStale   = errors.New("an acknowledgement is overdue")
	errReset   = errors.New("connection reset by the application")
	errTooLong = errors.New("the last acknowledgements did not come")
	errNoSpace = errors.New("the fragment being sent had to be given up for want of room")
	errEarly   = errors.New("the service ended the session")
)

func (ss *session) wakeUp() { ss.wake.ring() }

// Read is what the transport sends: whatever is there, at once.
func (ss *session) Read(p []byte) (int, error) {
	select {
	case <-ss.open:
	case <-ss.ctx.Done():
		return 0, context.Cause(ss.ctx)
	case <-ss.closed:
		return 0, io.ErrClosedPipe
	}
	for {
		n, disk, err := ss.fill(p)
		if disk != nil {
			n, err = ss.readDisk(p, disk)
		}
		if n > 0 || err != nil {
			if n > 0 && ss.s.upload != nil {
				if err := ss.s.upload.WaitN(ss.ctx, min(n, ss.s.upload.Burst())); err != nil {
					return 0, context.Cause(ss.ctx)
				}
			}
			return n, err
		}
		ss.wake.wait()
		select {
		case <-ss.ctx.Done():
			return 0, context.Cause(ss.ctx)
		case <-ss.closed:
			return 0, io.ErrClosedPipe
		default:
		}
	}
}

// Close ends a Read that waits. The transport calls it at the end of the body too,
// while acknowledgements are still to come: it ends nothing else.
func (ss *session) Close() error {
	ss.once.Do(func() { close(ss.closed) })
	ss.wake.ring()
	return nil
}

// fill copies out what is to be sent next. A fragment that lies on disk only is
// returned instead, to be read without the lock.
func (ss *session) fill(p []byte) (n int, disk *fragment, err error) {
	s := ss.s
	if s.upload != nil {
		p = p[:min(len(p), s.upload.Burst())]
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if ss.over {
		return 0, nil, context.Canceled
	}
	now := time.Now()
	for n < len(p) {
		if len(ss.pending) > 0 {
			c := copy(p[n:], ss.pending)
			ss.pending = ss.pending[c:]
			n += c
			continue
		}
		if ss.cur == nil {
			if ss.ended {
				if n == 0 {
					return 0, nil, io.EOF
				}
				break
			}
			if !ss.nextLocked(now) {
				break
			}
			continue
		}
		f := ss.cur
		if ss.off < f.size {
			if !f.inMemory() {
				if n == 0 {
					return 0, f, nil
				}
				break
			}
			c := f.copyAt(p[n:], ss.off)
			ss.off += c
			n += c
			continue
		}
		if !f.complete {
			break
		}
		ss.sentLocked(f, now)
	}
	s.m.sentBytes(n, now, !s.info.NoMetrics)
	return n, nil, nil
}

// readDisk sends from the spool; the fragment stays where it is while it is sent.
func (ss *session) readDisk(p []byte, f *fragment) (int, error) {
	n, err := f.disk.readAt(p, ss.off, f.size)
	s := ss.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if ss.over || ss.cur != f {
		return 0, context.Canceled
	}
	if err != nil {
		s.loseLocked(f, DropSpool, err)
		return 0, err
	}
	ss.off += n
	s.m.sentBytes(n, time.Now(), !s.info.NoMetrics)
	return n, nil
}

// nextLocked begins the next fragment, or the end of the session. It reports
// whether there is something to send.
func (ss *session) nextLocked(now time.Time) bool {
	s := ss.s
	f := s.firstQueuedLocked()
	first := ss.lastSeq == 0
	if f == nil {
		if ss.wantEnd || s.stopping && s.open == nil {
			ss.endLocked(now)
			return true
		}
		return false
	}
	if first && !s.numberedLocked(f) {
		return false
	}
	wire := f.ticks
	if s.info.Timecodes == sluice.TimecodeRelative {
		wire -= ss.base
	}
	if !first && (ss.wantEnd || f.header != ss.header || f.seq <= ss.lastSeq || f.jump) || wire < 0 {
		ss.endLocked(now)
		return true
	}
	if first {
		ss.header = f.header
		ss.scratch = append(ss.scratch[:0], f.header.bytes...)
	} else {
		ss.scratch = ss.scratch[:0]
	}
	f.state, f.session, f.wire, f.beganAt = sending, ss, wire, now
	f.attempts++
	if f.attempts > 1 {
		s.m.resentBytes += int64(f.size)
		s.m.resentFragments++
		s.events.send(FragmentResent{s.rangeOf(f)})
	}
	f.buffering, f.received = false, false
	ss.unacked = append(ss.unacked, f)
	ss.cur, ss.off, ss.lastSeq, ss.explicit = f, 0, f.seq, false
	ss.scratch = mkv.AppendCluster(ss.scratch, uint64(wire))
	ss.pending = ss.scratch
	return true
}

// numberedLocked reports whether the service has begun all that earlier sessions
// sent before f. It numbers fragments as they begin, and readers get them in that
// order: without the wait, a new session could overtake the end of an old one.
func (s *Stream) numberedLocked(f *fragment) bool {
	if s.info.NoAcks {
		return true
	}
	for _, d := range s.draining {
		for _, g := range d.unacked {
			if g.seq < f.seq && !g.buffering {
				return false
			}
		}
	}
	return true
}

// sentLocked ends a fragment whose blocks are all on the wire.
func (ss *session) sentLocked(f *fragment, now time.Time) {
	ss.scratch = append(ss.scratch[:0], f.tail...)
	if ss.s.open == nil && ss.s.firstQueuedLocked() == nil {
		f.explicit = true // nothing follows that would tell the service that it is whole
	}
	if f.explicit {
		ss.scratch = append(ss.scratch, endOfFragment...)
	}
	ss.pending, ss.explicit = ss.scratch, f.explicit
	f.state, f.sentAt = sent, now
	ss.cur = nil
	ss.s.sentFragmentLocked(f)
}

// endLocked ends the body. The last fragment is ended explicitly: its
// acknowledgements come without waiting for the end of the request to be seen.
func (ss *session) endLocked(now time.Time) {
	if !ss.explicit && ss.lastSeq != 0 {
		ss.pending = append(ss.scratch[:0], endOfFragment...)
	}
	ss.ended, ss.endedAt, ss.lastAck = true, now, now
	if ss.s.active == ss {
		ss.s.active = nil
		ss.s.draining = append(ss.s.draining, ss)
	}
	ss.s.wakeLoop()
}

// run asks for the session, reads its acknowledgements and reports its end.
func (ss *session) run() {
	err := ss.s.establish(ss.ctx)
	if err == nil {
		err = ss.serve()
	}
	ss.s.sessionOver(ss, err)
	ss.wake.close()
}

func (ss *session) serve() error {
	s := ss.s
	in := &kvsapi.PutMediaInput{
		Stream: sluice.StreamRef{Name: s.info.Name}, TimecodeType: s.info.Timecodes,
		ProducerStart: time.Now(), NoAcks: s.info.NoAcks, Body: ss,
	}
	s.mu.Lock()
	if s.info.Timecodes == sluice.TimecodeRelative {
		f := s.firstQueuedLocked()
		if f == nil {
			s.mu.Unlock()
			return nil // dropped meanwhile
		}
		ss.base = f.ticks
		in.ProducerStart = s.timeIn(f, time.Duration(f.ticks)*f.header.scale)
	}
	s.mu.Unlock()
	began := time.Now()
	life, err := s.client.sessionLife(ss.ctx)
	if err != nil {
		return err
	}
	out, err := s.client.api.PutMedia(ss.ctx, in)
	if err != nil {
		if ss.ctx.Err() != nil {
			return context.Cause(ss.ctx)
		}
		return serviceError(StatusPutStreamCallFailed, err)
	}
	defer out.Close()
	s.mu.Lock()
	now := time.Now()
	ss.opened, ss.lastAck, ss.expires = now, now, now.Add(life)
	s.m.sessionOpened(now.Sub(began))
	s.mu.Unlock()
	s.events.send(SessionOpened{ss.id})
	s.log.Debug("session opened", "session", ss.id, "request_id", out.RequestID(), "life", life)
	close(ss.open)
	s.wakeLoop()
	for {
		a, err := out.Next()
		if err != nil {
			return ss.endOf(err)
		}
		ss.ack(a)
	}
}

// endOf is the error of a session whose acknowledgements ended with err.
func (ss *session) endOf(err error) error {
	s := ss.s
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case ss.cause != nil:
		return ss.cause
	case ss.ctx.Err() != nil:
		return context.Cause(ss.ctx)
	case !errors.Is(err, io.EOF):
		return err
	case !ss.ended:
		return errEarly
	}
	return nil
}

// ack takes one acknowledgement.
func (ss *session) ack(a sluice.Ack) {
	s := ss.s
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	f := ss.find(a)
	var at time.Time
	if f != nil {
		at = s.timeIn(f, time.Duration(f.ticks)*f.header.scale)
	}
	s.events.send(AckReceived{a, at})
	s.m.ack(a.Event)
	if a.Event != sluice.AckIdle {
		ss.lastAck = now
	}
	switch a.Event {
	case sluice.AckError:
		s.refusedLocked(ss, f, a)
	case sluice.AckBuffering:
		if f != nil && !f.buffering {
			f.buffering = true
			s.m.bufferingLatency(now.Sub(f.beganAt))
		}
		if s.active != nil && s.active != ss {
			s.active.wakeUp() // it may have waited for this
		}
	case sluice.AckReceived:
		if f != nil {
			f.received, ss.progress = true, true
			if s.retention == NoRetention {
				s.finishLocked(f)
			}
		}
	case sluice.AckPersisted:
		if f != nil {
			f.persisted, ss.progress = true, true
			if !f.finishedAt.IsZero() {
				s.m.persistedLatency(now.Sub(f.finishedAt))
			}
			s.finishLocked(f)
		}
	}
	if ss.ended && len(ss.unacked) == 0 || ss.cause != nil || s.stopping {
		s.wakeLoop()
	}
}

// find is the fragment that an acknowledgement names. The guide counts
// FragmentTimecode in milliseconds, the wire in ticks as sent: both are tried.
func (ss *session) find(a sluice.Ack) *fragment {
	if !a.HasTimecode {
		if a.Event == sluice.AckError {
			if ss.cur != nil {
				return ss.cur
			}
			if n := len(ss.unacked); n > 0 {
				return ss.unacked[n-1]
			}
		}
		return nil
	}
	for _, f := range ss.unacked {
		if f.wire == a.Timecode {
			return f
		}
	}
	for _, f := range ss.unacked {
		if f.wire*int64(f.header.scale)/int64(time.Millisecond) == a.Timecode {
			return f
		}
	}
	return nil
}

// forget takes f off the fragments that wait for an acknowledgement.
func (ss *session) forget(f *fragment) {
	for i, g := range ss.unacked {
		if g == f {
			ss.unacked = append(ss.unacked[:i], ss.unacked[i+1:]...)
			return
		}
	}
}
