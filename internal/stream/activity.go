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
	BitsPerSecond float64 // over the last fragments; 0 when nothing arrives
	Tracks        []sluice.Track
	TailFragments int
	TailBytes     int64
	Errors        []ErrorAck // newest last
}

// SessionActivity is one PutMedia session.
type SessionActivity struct {
	ID, Remote, Agent string
	Age, Silent       time.Duration
	Open              sluice.FragmentNumber // zero: between fragments
	OpenBytes         int64
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
)

// activity is guarded by the stream's mutex.
type activity struct {
	last     sluice.FragmentNumber
	server   time.Time
	producer time.Time
	bytes    int64
	header   *fragment.Header
	recent   [activityFragments]struct {
		at    time.Time // monotonic
		bytes int64
	}
	n      int
	errors []ErrorAck
}

func (a *activity) complete(f *frag) {
	a.last, a.server, a.producer, a.bytes, a.header = f.number, f.server, f.producer, f.size, f.header
	a.recent[a.n%activityFragments].at = time.Now()
	a.recent[a.n%activityFragments].bytes = f.size
	a.n++
}

// rate is the bits a second of the last fragments, up to now.
func (a *activity) rate(now time.Time) float64 {
	if a.n < 2 {
		return 0
	}
	oldest := max(0, a.n-activityFragments)
	// The first one's bytes arrived before its time.
	var bytes int64
	for i := oldest + 1; i < a.n; i++ {
		bytes += a.recent[i%activityFragments].bytes
	}
	first, last := a.recent[oldest%activityFragments].at, a.recent[(a.n-1)%activityFragments].at
	span := last.Sub(first)
	if idle := now.Sub(last); idle > 2*span/time.Duration(a.n-oldest-1)+5*time.Second {
		return 0
	}
	if span <= 0 {
		return 0
	}
	return float64(bytes*8) / span.Seconds()
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
		BitsPerSecond: a.rate(now), TailFragments: len(o.tail),
		Errors: append([]ErrorAck(nil), a.errors...),
	}
	if a.header != nil {
		out.Tracks = a.header.Tracks
	}
	for _, f := range o.tail {
		out.TailBytes += f.size
	}
	for _, s := range o.sessions {
		x := SessionActivity{ID: s.info.ID, Remote: s.info.Remote, Agent: s.info.Agent, Age: now.Sub(s.joined), Silent: s.Silence()}
		if s.cur != nil {
			x.Open, x.OpenBytes = s.cur.number, s.cur.size
		}
		out.Sessions = append(out.Sessions, x)
	}
	return out
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
