package producer

import (
	"sync"
	"time"

	"github.com/sluicevideo/sluice"
)

// Event is one of the types below: what the guide's callbacks tell ("Producer SDK
// Callbacks"), and what they do not.
type Event interface{ event() }

type (
	// ClientReady: the client has credentials that the service took
	// (ClientReadyFunc).
	ClientReady struct{}
	// StoragePressure: 5 % of the content store or less is left
	// (StorageOverflowPressureFunc). Reported once, and again after it was relieved
	// to 10 %.
	StoragePressure struct{ Remaining int64 }
	// CredentialsFailed: no new credentials could be had. Those at hand are used
	// until they expire.
	CredentialsFailed struct {
		Err     error
		Expires time.Time // of those at hand; zero: none, or never
	}
	// StreamReady: the stream exists and has an endpoint (StreamReadyFunc).
	StreamReady struct{ ARN string }
	// SessionOpened: a PutMedia session takes media.
	SessionOpened struct{ Session int64 }
	// SessionClosed: a session ended; Err is nil when it ended as it should.
	SessionClosed struct {
		Session  int64
		Err      error
		Duration time.Duration
	}
	// AckReceived: an acknowledgement, whatever its kind (FragmentAckReceivedFunc).
	// Time is the producer time of its fragment.
	AckReceived struct {
		Ack  sluice.Ack
		Time time.Time
	}
	// FragmentDropped: media that will not be delivered, or that nobody can say was
	// (DroppedFragmentReportFunc).
	FragmentDropped struct {
		Range
		Reason DropReason
		Err    error // the error acknowledgement, if that was the reason
		// Sent: a session had begun to send it, so it may have arrived for all that.
		Sent bool
	}
	// FramesSkipped: frames that were put and taken into no fragment, a run of
	// them at a time (DroppedFrameReportFunc).
	FramesSkipped struct {
		Range
		Track  uint64
		Reason SkipReason
	}
	// FragmentResent: a fragment is sent again that may have arrived before.
	FragmentResent struct{ Range }
	// LatencyPressure: media waits unsent longer than MaxLatency
	// (StreamLatencyPressureFunc). Reported once, and again after it had fallen
	// below half of that.
	LatencyPressure struct{ Latency time.Duration }
	// BufferPressure: 5 % of BufferDuration or less is left
	// (BufferDurationOverflowPressureFunc), with the hysteresis of StoragePressure.
	BufferPressure struct{ Remaining time.Duration }
	// ConnectionStale: an acknowledgement is overdue by ConnectionStaleness
	// (StreamConnectionStaleFunc). The session is given up and another begun.
	ConnectionStale struct{ Since time.Duration }
	// StreamError: something failed (StreamErrorReportFunc). The stream goes on
	// unless Final is set. Time is that of the fragment, or zero.
	StreamError struct {
		Err   error
		Time  time.Time
		Final bool
	}
	// Reconnecting: another try is made after Wait.
	Reconnecting struct {
		Attempt int
		Wait    time.Duration
		Err     error
	}
	// TimestampRepaired: a run of frames had times that no fragment can hold; they
	// were moved by at most By.
	TimestampRepaired struct {
		Track  uint64
		Frames int
		By     time.Duration
	}
	// FragmentTooLong: no key frame came within the 10 seconds of the guide's
	// limit.
	FragmentTooLong struct{ Duration time.Duration }
	// DataAvailable: media waits for a session (StreamDataAvailableFunc).
	DataAvailable struct {
		Duration time.Duration
		Bytes    int64
	}
	// TracksChanged: what the session declares: a track fell silent or came back,
	// or its codec private data changed.
	TracksChanged struct{ Tracks []sluice.Track }
	// StreamClosed: everything was sent and answered after Stop, or the stream
	// failed for good (StreamClosedFunc).
	StreamClosed struct{ Err error }
	// EventsLost: the handler was so slow that this many events were not kept.
	EventsLost struct{ Count int }
)

func (ClientReady) event()       {}
func (CredentialsFailed) event() {}
func (StoragePressure) event()   {}
func (StreamReady) event()       {}
func (SessionOpened) event()     {}
func (SessionClosed) event()     {}
func (AckReceived) event()       {}
func (FragmentDropped) event()   {}
func (FramesSkipped) event()     {}
func (FragmentResent) event()    {}
func (LatencyPressure) event()   {}
func (BufferPressure) event()    {}
func (ConnectionStale) event()   {}
func (StreamError) event()       {}
func (Reconnecting) event()      {}
func (TimestampRepaired) event() {}
func (FragmentTooLong) event()   {}
func (DataAvailable) event()     {}
func (TracksChanged) event()     {}
func (StreamClosed) event()      {}
func (EventsLost) event()        {}

// DropReason says why a fragment was not delivered.
type DropReason uint8

const (
	DropStorage    DropReason = iota + 1 // the content store is full
	DropBuffer                           // older than BufferDuration
	DropRefused                          // the service refuses the fragment: Err
	DropReplay                           // RECEIVED, never PERSISTED, and beyond ReplayDuration
	DropUnanswered                       // let go for want of room, after which its session failed
	DropSpool                            // the spool is full, or its disk failed
	DropStopped                          // the stream ended before it was delivered
	DropDiscarded                        // by Discard
)

func (r DropReason) String() string {
	return [...]string{"", "storage", "buffer", "refused", "replay", "unanswered", "spool", "stopped", "discarded"}[r]
}

// SkipReason says why frames were not taken.
type SkipReason uint8

const (
	SkipNoKeyFrame   SkipReason = iota + 1 // no fragment is open, and they do not begin one
	SkipNoCodec                            // codec private data is not known yet
	SkipTrackUnknown                       // their track is not declared in the open fragment
	SkipFragment                           // the rest of a fragment that was dropped or refused
)

func (r SkipReason) String() string {
	return [...]string{"", "no key frame yet", "no codec private data yet", "track not declared", "rest of a dropped fragment"}[r]
}

// maxEvents bounds what waits for a slow handler.
const maxEvents = 1024

// eventQueue delivers events in order. A goroutine runs only while there are
// any.
type eventQueue struct {
	handle func(Event)

	mu      sync.Mutex
	waiting []Event
	lost    int
	running bool
	idle    sync.WaitGroup
}

func (q *eventQueue) send(e Event) {
	if q.handle == nil {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) >= maxEvents {
		q.waiting = q.waiting[1:]
		q.lost++
	}
	q.waiting = append(q.waiting, e)
	if !q.running {
		q.running = true
		q.idle.Go(q.run)
	}
}

func (q *eventQueue) run() {
	for {
		q.mu.Lock()
		if len(q.waiting) == 0 && q.lost == 0 {
			q.running, q.waiting = false, nil
			q.mu.Unlock()
			return
		}
		var e Event
		if q.lost > 0 {
			e, q.lost = EventsLost{q.lost}, 0
		} else {
			e, q.waiting = q.waiting[0], q.waiting[1:]
		}
		q.mu.Unlock()
		q.handle(e)
	}
}

// wait returns once every event was delivered.
func (q *eventQueue) wait() { q.idle.Wait() }
