package stream

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/fragment"
	"github.com/sluicevideo/sluice/internal/catalog"
	"github.com/sluicevideo/sluice/internal/store"
)

// SessionInfo says who writes.
type SessionInfo struct {
	ID     string // for logs; the request id of its PutMedia call
	Remote string // the client's address, without a port
	Agent  string
}

// Session is one PutMedia request on a stream. Its methods are called by one
// goroutine, Done and Err apart; Leave must be called at the end.
type Session struct {
	o    *opened
	info SessionInfo
	// spoke is when the last byte arrived or listening began (monotonic, ns since
	// the registry began). waits says that nobody listens, because the session
	// waits for memory or for something else of ours: that is not silence.
	spoke  atomic.Int64
	waits  atomic.Bool
	ctx    context.Context // ends with the session
	end    context.CancelCauseFunc
	joined time.Time
	began  int64         // the same, as spoke
	queued *store.Ticket // of the last fragment given to the store; whoever drains has it

	// Guarded by o.mu.
	cur       *frag
	fragments int64 // complete ones, and their bytes
	bytes     int64
	frames    int // of the last one
	yielding  bool
	cause     error // set before ctx ends
	left      bool
}

// FragmentHeader is what is known of a fragment when its Cluster begins.
type FragmentHeader struct {
	Lead     []byte           // the leading bytes of its chunk; kept, read only
	Header   *fragment.Header // the session's
	Timecode int64            // the Cluster's, in ticks, as sent
	Producer time.Time        // producer timestamp
	Server   time.Time        // server timestamp; zero: now
}

// Join begins a session. It returns the catalog's *sluice.Error when the stream
// is not there or not active, and an error with an AckErrorCode when its key
// cannot be used. Older sessions are never refused for: over the limit the
// oldest yields.
func (r *Registry) Join(ctx context.Context, ref sluice.StreamRef, info SessionInfo) (*Session, error) {
	o, err := r.resolve(ctx, ref)
	if err != nil {
		return nil, err
	}
	if err := o.take(ctx); err != nil {
		return nil, fmt.Errorf("%w: stream %s: %w", sluice.InternalError, o.id, err)
	}
	if _, err := o.streamKey(ctx); err != nil {
		return nil, err
	}
	s := &Session{o: o, info: info, joined: time.Now()}
	s.ctx, s.end = context.WithCancelCause(context.Background())
	s.began = r.mono()
	s.spoke.Store(s.began)
	if !r.enter() {
		return nil, ErrClosed
	}
	most := r.o.MaxSessions()
	o.mu.Lock()
	gone := o.gone
	if !gone {
		o.sessions = append(o.sessions, s)
		for i := 0; most > 0 && i < len(o.sessions)-most; i++ {
			o.sessions[i].yieldLocked()
		}
	}
	o.mu.Unlock()
	if gone {
		r.leave()
		return nil, notActive()
	}
	r.budget.sessions(1)
	if r.isClosing() {
		// Close may have asked the sessions to yield before this one was among
		// them.
		o.mu.Lock()
		s.yieldLocked()
		o.mu.Unlock()
	}
	return s, nil
}

// Stream is the stream's catalog entry as it stands.
func (s *Session) Stream() catalog.Stream {
	s.o.mu.Lock()
	defer s.o.mu.Unlock()
	return s.o.about
}

// Context ends when the session is ended from outside: by a newer session,
// because it stalled, because the stream was deleted, or because the server
// stops; and with Leave. Err says which.
func (s *Session) Context() context.Context { return s.ctx }

// Err is why the session was ended from outside, else nil: ErrYield, or an error
// with an AckErrorCode in its chain.
func (s *Session) Err() error {
	s.o.mu.Lock()
	defer s.o.mu.Unlock()
	return s.cause
}

// Listen says that the session waits for bytes from now on: silence counts.
func (s *Session) Listen() {
	s.touch()
	s.waits.Store(false)
}

// Heard says that it does so no longer. Who never calls Listen and Heard is
// always listening.
func (s *Session) Heard() { s.waits.Store(true) }

func (s *Session) touch() { s.spoke.Store(s.o.r.mono()) }

// Silence is how long the session has listened without hearing a byte.
func (s *Session) Silence() time.Duration {
	if s.waits.Load() {
		return 0
	}
	return time.Duration(s.o.r.mono() - s.spoke.Load())
}

// Grant waits until n more bytes of the open fragment may be held. Who reads
// from a socket calls it for what it has read, before it reads on; Append takes
// from what was granted. It returns ErrYield when the session is ended while it
// waits. Between fragments it does not wait: what arrives there is little.
func (s *Session) Grant(ctx context.Context, n int) error {
	s.touch()
	s.o.mu.Lock()
	f := s.cur
	s.o.mu.Unlock()
	if f == nil {
		return nil
	}
	f.read += int64(n)
	return s.hold(ctx, f, f.read)
}

// hold waits until f may hold n bytes of media.
func (s *Session) hold(ctx context.Context, f *frag, n int64) error {
	if !f.volatile {
		// The sealed copy is granted together with the bytes, so that sealing never
		// waits for memory while it holds some.
		n *= 2
	}
	b, o := s.o.r.budget, s.o
	if took, ok := b.tryTake(f.charge, n); ok {
		if took {
			s.returnAborted(f)
		}
		return nil
	}
	was := s.waits.Swap(true)
	o.mu.Lock()
	f.starved = true
	o.watchStallLocked()
	o.mu.Unlock()
	err := b.take(ctx, s.ctx.Done(), f.charge, n)
	o.mu.Lock()
	f.starved = false
	o.mu.Unlock()
	s.touch()
	s.waits.Store(was)
	s.returnAborted(f)
	return err
}

// returnAborted gives back what was granted to a fragment that was aborted by
// somebody else meanwhile.
func (s *Session) returnAborted(f *frag) {
	s.o.mu.Lock()
	aborted := f.state == stateAborted
	s.o.mu.Unlock()
	if aborted {
		s.o.r.budget.give(f.charge)
	}
}

// Begin opens a fragment and numbers it. Followers see it when its first bytes
// are appended, or when it is complete if its Cluster has a known size: such a
// Cluster, cut off, would swallow what comes after it. It returns Err() when the
// session was ended, ErrYield when it should end, and key errors.
func (s *Session) Begin(ctx context.Context, h FragmentHeader) (*Open, error) {
	if _, err := s.o.streamKey(ctx); err != nil {
		return nil, err
	}
	if h.Server.IsZero() {
		h.Server = s.o.now()
	}
	o := s.o
	f, err := s.beginLocking(h)
	if err != nil {
		return nil, err
	}
	o.r.budget.enter(f.charge)
	s.returnAborted(f)
	return &Open{f: f}, nil
}

func (s *Session) beginLocking(h FragmentHeader) (*frag, error) {
	o := s.o
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case s.cause != nil:
		return nil, s.cause
	case s.yielding:
		s.endLocked(ErrYield)
		return nil, ErrYield
	case s.cur != nil:
		return nil, fmt.Errorf("%w: begun inside fragment %s", sluice.InternalError, s.cur.number)
	}
	f := &frag{
		o: o, s: s, server: h.Server.UTC().Truncate(time.Millisecond), producer: h.Producer.UTC().Truncate(time.Millisecond),
		timecode: h.Timecode, lead: h.Lead, header: h.Header, retention: o.about.Retention, volatile: o.about.Retention <= 0, ticket: newTicket(),
	}
	f.number = sluice.MakeFragmentNumber(o.next, uint64(max(f.server.UnixMilli(), 0)), rand.Uint32())
	// Beyond 2^26 fragments the counter runs over into the epoch, which is
	// seconds of a clock that is 2^26 s/5 further by then.
	o.next++
	o.last = f.number
	f.charge = &charge{age: o.r.budget.age.Add(1), group: &o.group}
	o.tail = append(o.tail, f)
	s.cur = f
	return f, nil
}

// yieldLocked asks the session to take no further fragment.
func (s *Session) yieldLocked() {
	s.yielding = true
	s.settledLocked()
}

// settledLocked ends a yielding session that has nothing open.
func (s *Session) settledLocked() {
	if s.yielding && s.cur == nil {
		s.endLocked(ErrYield)
	}
}

func (s *Session) endLocked(cause error) {
	if s.cause == nil {
		s.cause = cause
		s.end(cause)
	}
}

// Leave ends the session. A fragment that is still open is aborted with cause.
func (s *Session) Leave(cause error) {
	if cause == nil {
		cause = sluice.StreamReadError
	}
	o := s.o
	o.mu.Lock()
	if s.left {
		o.mu.Unlock()
		return
	}
	s.left = true
	f := s.cur
	for i, x := range o.sessions {
		if x == s {
			o.sessions = append(o.sessions[:i:i], o.sessions[i+1:]...)
			break
		}
	}
	o.mu.Unlock()
	o.r.budget.sessions(-1)
	s.end(context.Canceled)
	if f != nil {
		o.abort(f, cause)
	}
	o.r.leave()
}

// Open is a fragment that arrives.
type Open struct{ f *frag }

// Number is its fragment number.
func (o *Open) Number() sluice.FragmentNumber { return o.f.number }

// Durable reports whether the fragment will be kept: the stream had a retention
// when it began.
func (o *Open) Durable() bool { return !o.f.volatile }

// Append adds elements of the fragment, verbatim, with the frames whose blocks
// they complete, and wakes followers. The bytes are kept and must not be changed
// afterwards. It waits for memory when less was granted (see Session.Grant). It
// returns why the fragment was aborted, when it was.
func (o *Open) Append(ctx context.Context, elements []byte, frames []fragment.Entry) error {
	f := o.f
	s := f.s
	// f.size changes on this goroutine alone.
	if err := s.hold(ctx, f, max(f.size+int64(len(elements)), f.read)); err != nil {
		return err
	}
	s.touch()
	st := s.o
	st.mu.Lock()
	defer st.mu.Unlock()
	if f.state != stateOpen {
		return f.failureLocked()
	}
	if len(f.frames)+len(frames) > maxFrames {
		return fmt.Errorf("%w: more than %d frames in a fragment", sluice.MaxFragmentSizeReached, maxFrames)
	}
	for i := range frames {
		e := &frames[i]
		if len(f.frames) == 0 && i == 0 {
			f.first, f.final = e.Timecode, e.Timecode
		}
		f.first, f.final = min(f.first, e.Timecode), max(f.final, e.Timecode)
		if e.Track >= 1 && e.Track <= 32 {
			f.tracks |= 1 << (e.Track - 1)
		}
	}
	if len(frames) > 0 && f.frames == nil {
		// As many as the fragment before had: then nothing is moved as it grows.
		f.frames = make([]fragment.Entry, 0, max(len(frames), min(s.frames, 256)))
	}
	f.frames = append(f.frames, frames...)
	f.addLocked(elements)
	if f.shown {
		st.wakeLocked()
	}
	return nil
}

// addLocked keeps p; pieces that lie behind each other in memory become one run.
func (f *frag) addLocked(p []byte) {
	if len(p) == 0 {
		return
	}
	if f.headN < len(f.head) {
		f.headN += copy(f.head[f.headN:], p)
		f.shown = unknownSize(f.head[:f.headN])
	}
	f.size += int64(len(p))
	if n := len(f.runs); n > 0 {
		last := f.runs[n-1]
		if cap(last)-len(last) >= len(p) && &last[:len(last)+1][len(last)] == &p[0] {
			f.runs[n-1] = last[:len(last)+len(p)]
			return
		}
	}
	f.runs = append(f.runs, p)
}

// unknownSize reports whether head is a Cluster's id and a size of all ones.
func unknownSize(head []byte) bool {
	const id = 4
	if len(head) <= id || head[id] == 0 {
		return false
	}
	width := 1
	for b := head[id]; b&0x80 == 0; b <<= 1 {
		width++
	}
	if len(head) < id+width {
		return false
	}
	if head[id] != 0xff>>(width-1) {
		return false
	}
	for _, c := range head[id+1 : id+width] {
		if c != 0xff {
			return false
		}
	}
	return true
}

func (f *frag) failureLocked() error {
	switch {
	case f.cause != nil:
		return f.cause
	case f.s.cause != nil:
		return f.s.cause
	}
	return fmt.Errorf("%w: fragment %s is not open", sluice.InternalError, f.number)
}

// Commit says that the fragment is complete. It seals it, a large one beside the
// caller's goroutine, and queues it behind what was numbered before it; it does
// not wait for the store. Without retention the ticket is done at once.
func (o *Open) Commit(ctx context.Context) *Ticket {
	f := o.f
	st := f.o
	st.mu.Lock()
	if f.state != stateOpen {
		err := f.failureLocked()
		st.mu.Unlock()
		f.ticket.complete(err)
		return f.ticket
	}
	f.state, f.shown, f.span = stateComplete, true, f.length()
	f.s.cur = nil
	f.s.fragments++
	f.s.bytes += f.size
	f.s.frames = len(f.frames)
	st.activity.complete(f)
	st.wakeLocked()
	f.s.settledLocked()
	st.mu.Unlock()
	if f.volatile {
		st.keep(f)
		f.ticket.complete(nil)
		st.trimVolatile()
		return f.ticket
	}
	if f.size < sealApart {
		st.finish(ctx, f)
		return f.ticket
	}
	st.r.stay()
	go func() {
		defer st.r.leave()
		st.finish(ctx, f)
	}()
	return f.ticket
}

// sealApart is from which size on a fragment is sealed beside the session's
// goroutine, which reads on: a camera that sends so much should not wait.
const sealApart = 2 << 20

// finish seals a complete fragment and queues it.
func (o *opened) finish(ctx context.Context, f *frag) {
	sealed, err := f.seal(ctx)
	if err != nil {
		// What follows it in the session is not taken: it is sent again with it.
		o.mu.Lock()
		f.s.endLocked(err)
		o.mu.Unlock()
		o.abort(f, err)
		return
	}
	b := o.r.budget
	b.adjust(f.charge, f.cost()+int64(cap(sealed.frame)))
	o.mu.Lock()
	aborted := f.state == stateAborted // deleted meanwhile
	f.sealed = sealed
	o.mu.Unlock()
	if aborted {
		b.give(f.charge)
	}
	o.drain()
}

// Abort says that the fragment will not be complete. cause has the AckErrorCode
// in its chain.
func (o *Open) Abort(cause error) { o.f.o.abort(o.f, cause) }
