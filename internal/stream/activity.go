package stream

import (
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/fragment"
)

// Activity is what a stream does now, for people who look.
type Activity struct {
	Sessions      []SessionActivity
	LastFragment  sluice.FragmentNumber // last complete; zero: none since the server began
	LastServer    time.Time             // its times
	LastProducer  time.Time
	LastBytes     int64
	LastLength    time.Duration
	LastDurable   bool
	Rate          Rate // over the last fragments; zero when nothing arrives
	Tracks        []sluice.Track
	Readers       int // GetMedia connections
	TailFragments int
	TailBytes     int64
	Acks          []SentAck  // the last ones that were written, newest last; IDLE is not among them
	Errors        []ErrorAck // newest last
}

// Rate is what arrives in a second.
type Rate struct {
	Bits      float64
	Pictures  float64 // frames of the first video track
	Fragments float64
}

// SessionActivity is one PutMedia session.
type SessionActivity struct {
	ID, Remote, Agent string
	Age, Silent       time.Duration
	Open              sluice.FragmentNumber // zero: between fragments
	OpenBytes         int64
	Fragments, Bytes  int64 // complete ones
}

// SentAck is an acknowledgement that was sent.
type SentAck struct {
	Time time.Time
	Ack  sluice.Ack
}

// ErrorAck is an ERROR acknowledgement that was sent.
type ErrorAck struct {
	Time    time.Time
	Session string
	Ack     sluice.Ack
	Reason  string // what the acknowledgement has no room for
}

const (
	activityFragments = 16
	activityErrors    = 16
	activityAcks      = 48 // three a fragment: those of the last seconds
)

// activity is guarded by the stream's mutex.
type activity struct {
	last     sluice.FragmentNumber
	server   time.Time
	producer time.Time
	bytes    int64
	length   time.Duration
	header   *fragment.Header
	volatile bool // the last one is never durable
	readers  int
	recent   [activityFragments]struct {
		at       time.Time // monotonic
		bytes    int64
		pictures int
	}
	n      int
	acks   []SentAck // a ring once it is full
	acked  int       // how many there were
	errors []ErrorAck
}

func (a *activity) complete(f *frag) {
	a.last, a.server, a.producer, a.bytes, a.header = f.number, f.server, f.producer, f.size, f.header
	a.length, a.volatile = f.span, f.volatile
	r := &a.recent[a.n%activityFragments]
	r.at, r.bytes, r.pictures = time.Now(), f.size, 0
	if video := firstVideo(f.header); video != 0 {
		for i := range f.frames {
			if f.frames[i].Track == video {
				r.pictures++
			}
		}
	}
	a.n++
}

// firstVideo is the number of the first track with pictures; 0: there is none.
func firstVideo(h *fragment.Header) uint32 {
	if h != nil {
		for i := range h.Tracks {
			if h.Tracks[i].Type == sluice.TrackVideo {
				return uint32(h.Tracks[i].Number)
			}
		}
	}
	return 0
}

// rate is what came in a second with the last fragments, up to now.
func (a *activity) rate(now time.Time) Rate {
	if a.n < 2 {
		return Rate{}
	}
	oldest := max(0, a.n-activityFragments)
	// The first one's bytes arrived before its time.
	var bytes int64
	var pictures int
	for i := oldest + 1; i < a.n; i++ {
		bytes += a.recent[i%activityFragments].bytes
		pictures += a.recent[i%activityFragments].pictures
	}
	first, last := a.recent[oldest%activityFragments].at, a.recent[(a.n-1)%activityFragments].at
	span := last.Sub(first)
	if idle := now.Sub(last); idle > 2*span/time.Duration(a.n-oldest-1)+5*time.Second {
		return Rate{}
	}
	if span <= 0 {
		return Rate{}
	}
	s := span.Seconds()
	return Rate{Bits: float64(bytes*8) / s, Pictures: float64(pictures) / s, Fragments: float64(a.n-oldest-1) / s}
}

// NoteAck keeps an acknowledgement that was written, for who looks.
func (s *Session) NoteAck(ack sluice.Ack) {
	o := s.o
	now := o.now()
	o.mu.Lock()
	defer o.mu.Unlock()
	a := &o.activity
	if x := (SentAck{now, ack}); len(a.acks) < activityAcks {
		a.acks = append(a.acks, x)
	} else {
		a.acks[a.acked%activityAcks] = x
	}
	a.acked++
}

// NoteError keeps an ERROR acknowledgement for who looks for the reason.
func (s *Session) NoteError(ack sluice.Ack, reason string) {
	s.o.noteError(ErrorAck{Time: s.o.now(), Session: s.info.ID, Ack: ack, Reason: reason})
}

func (o *opened) noteError(e ErrorAck) {
	o.mu.Lock()
	defer o.mu.Unlock()
	a := &o.activity
	if len(a.errors) == activityErrors {
		a.errors = append(a.errors[:0:0], a.errors[1:]...)
	}
	a.errors = append(a.errors, e)
}

// Activity tells what a stream does; the zero value for one that nobody has
// written to or read from since the server began.
func (r *Registry) Activity(id sluice.StreamID) Activity {
	o := r.peek(id)
	if o == nil {
		return Activity{}
	}
	now := time.Now()
	o.mu.Lock()
	defer o.mu.Unlock()
	a := &o.activity
	out := Activity{
		LastFragment: a.last, LastServer: a.server, LastProducer: a.producer, LastBytes: a.bytes,
		LastLength: a.length, LastDurable: !a.last.IsZero() && !a.volatile,
		Rate: a.rate(now), Readers: a.readers, TailFragments: len(o.tail),
		Errors: append([]ErrorAck(nil), a.errors...),
	}
	for i := max(0, a.acked-activityAcks); i < a.acked; i++ {
		out.Acks = append(out.Acks, a.acks[i%activityAcks])
	}
	if a.header != nil {
		out.Tracks = a.header.Tracks
	}
	for _, f := range o.tail {
		out.TailBytes += f.size
		if f.number == a.last && f.state != stateDurable {
			out.LastDurable = false
		}
	}
	for _, s := range o.sessions {
		x := SessionActivity{ID: s.info.ID, Remote: s.info.Remote, Agent: s.info.Agent, Age: now.Sub(s.joined), Silent: s.Silence(),
			Fragments: s.fragments, Bytes: s.bytes}
		if s.cur != nil {
			x.Open, x.OpenBytes = s.cur.number, s.cur.size
		}
		out.Sessions = append(out.Sessions, x)
	}
	return out
}

// Attend counts a reader in, for who looks at the stream; leave must be called
// when it ends.
func (c *Cursor) Attend() (leave func()) {
	o := c.o
	o.mu.Lock()
	defer o.mu.Unlock()
	o.activity.readers++
	return func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.activity.readers--
	}
}

// Streams are the ids of the streams that are open, in no order.
func (r *Registry) Streams() []sluice.StreamID {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]sluice.StreamID, 0, len(r.streams))
	for id := range r.streams {
		out = append(out, id)
	}
	return out
}
