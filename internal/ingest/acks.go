package ingest

import (
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/event"
	"github.com/sluicevideo/sluice/internal/stream"
)

// ackQueue is how many bytes of acknowledgements may wait for a client that does
// not read them. When it is full, BUFFERING is dropped first, IDLE with it; what
// says that a fragment is kept or lost never is: then no new fragment begins
// until there is room.
const ackQueue = 1 << 20

// ackCost is what a waiting acknowledgement counts for: its longest form.
const ackCost = 160

// acks is the queue of acknowledgements of a session, and their writer.
type acks struct {
	w    http.ResponseWriter
	conn *http.ResponseController
	want bool // else errors only
	told *event.Sink
	note func(sluice.Ack) // told of what was written; nil: nobody
	buf  []byte

	// mu guards what follows.
	mu      sync.Mutex
	out     []sluice.Ack
	tickets []ticket // of fragments that wait to be durable, in number order
	closing bool     // nothing follows
	final   *sluice.Ack
	broken  error // the connection takes no more
	failed  error // a fragment could not be kept: the session must end

	wake chan struct{} // one token: something was added
	room chan struct{} // one token: something was taken out
}

// ticket is a fragment that is complete.
type ticket struct {
	t        *stream.Ticket
	timecode int64
	number   sluice.FragmentNumber
	durable  bool
	done     func(err error) // told when it is decided
}

func newAcks(w http.ResponseWriter, conn *http.ResponseController, want bool, told *event.Sink) *acks {
	return &acks{w: w, conn: conn, want: want, told: told, wake: make(chan struct{}, 1), room: make(chan struct{}, 1)}
}

func token(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (a *acks) sizeLocked() int { return (len(a.out) + 2*len(a.tickets)) * ackCost }

// add queues an acknowledgement that may be dropped.
func (a *acks) add(x sluice.Ack) {
	if !a.want {
		return
	}
	a.mu.Lock()
	if a.sizeLocked() >= ackQueue {
		a.told.AckDropped()
		a.out = slices.DeleteFunc(a.out, func(o sluice.Ack) bool {
			if o.Event == sluice.AckBuffering {
				a.told.AckDropped()
			}
			return o.Event == sluice.AckBuffering || o.Event == sluice.AckIdle
		})
	} else {
		a.out = append(a.out, x)
	}
	a.mu.Unlock()
	token(a.wake)
}

// expect queues the acknowledgements of a fragment that is complete, to be
// written when it is decided.
func (a *acks) expect(t ticket) {
	a.mu.Lock()
	a.tickets = append(a.tickets, t)
	a.mu.Unlock()
	token(a.wake)
}

// wait waits until there is room for the acknowledgements of another fragment,
// or until stop is closed.
func (a *acks) wait(stop <-chan struct{}) {
	for {
		a.mu.Lock()
		full := a.sizeLocked() >= ackQueue+ackQueue/2 && a.broken == nil && a.failed == nil
		a.mu.Unlock()
		if !full {
			return
		}
		select {
		case <-a.room:
		case <-stop:
			return
		}
	}
}

// finish says that nothing follows but what is queued and final, which may be
// nil.
func (a *acks) finish(final *sluice.Ack) {
	a.mu.Lock()
	a.closing, a.final = true, final
	a.mu.Unlock()
	token(a.wake)
}

// failure is why a fragment could not be kept, or why nothing can be written.
func (a *acks) failure() (failed, broken error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.failed, a.broken
}

// run writes until finish was called and everything is written, or a fragment
// failed. onEnd is called when it ends before finish.
func (a *acks) run(onEnd func()) {
	for {
		a.mu.Lock()
		out := a.out
		a.out = nil
		var head *ticket
		if len(a.tickets) > 0 {
			head = &a.tickets[0]
		}
		closing, final := a.closing, a.final
		a.mu.Unlock()
		token(a.room)
		for _, x := range out {
			if !a.write(x) {
				a.abandon(onEnd)
				return
			}
		}
		var decided <-chan struct{}
		if head != nil {
			decided = head.t.Done()
		} else if closing && len(out) == 0 {
			if final != nil {
				a.write(*final)
			}
			return
		}
		if len(out) > 0 {
			select {
			case <-decided:
			default:
				continue // look again: more may have come while we wrote
			}
		}
		select {
		case <-decided:
			t := *head
			a.mu.Lock()
			a.tickets = a.tickets[1:]
			a.mu.Unlock()
			token(a.room)
			if !a.decide(t) {
				a.abandon(onEnd)
				return
			}
		case <-a.wake:
		}
	}
}

// decide writes what a decided fragment's producer must know. RECEIVED goes out
// together with PERSISTED: the official producers never send a fragment again
// that they have seen RECEIVED, so before it is durable it would be a promise
// that we could not keep.
func (a *acks) decide(t ticket) bool {
	err := t.t.Err()
	t.done(err)
	ack := sluice.Ack{Event: sluice.AckReceived, Timecode: t.timecode, HasTimecode: true, Number: t.number}
	if err != nil {
		ack.Event, ack.Code = sluice.AckError, stream.AckCode(err)
		a.mu.Lock()
		a.failed = err
		a.mu.Unlock()
		a.write(ack)
		return false
	}
	if !a.want {
		return true
	}
	if !a.write(ack) {
		return false
	}
	if t.durable {
		ack.Event = sluice.AckPersisted
		return a.write(ack)
	}
	return true
}

// abandon ends the writer before its time.
func (a *acks) abandon(onEnd func()) {
	a.mu.Lock()
	rest := a.tickets
	a.tickets, a.out = nil, nil
	a.mu.Unlock()
	for _, t := range rest {
		t.done(nil)
	}
	token(a.room)
	if onEnd != nil {
		onEnd()
	}
}

// write puts one acknowledgement on the wire: one write, one flush, so one HTTP
// chunk (wire-protocol §3.3: two producers cannot read one that is split).
func (a *acks) write(x sluice.Ack) bool {
	if x.Event == sluice.AckError {
		a.told.ErrorAck(int(x.Code))
	}
	a.buf = x.Append(a.buf[:0])
	_, err := a.w.Write(a.buf)
	if err == nil {
		err = a.conn.Flush()
	}
	if err == nil {
		if a.note != nil && x.Event != sluice.AckIdle {
			a.note(x)
		}
		return true
	}
	a.mu.Lock()
	a.broken = err
	a.mu.Unlock()
	return false
}

// idle is an IDLE acknowledgement.
var idle = sluice.Ack{Event: sluice.AckIdle}

// past is a deadline that is over.
var past = time.Unix(1, 0)
