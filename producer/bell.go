package producer

import (
	"sync/atomic"
	"time"
)

// bell wakes the one goroutine that sends a session, from any other.
//
// A channel would do. But with each frame the runtime would wake a second thread,
// within PutFrame, for a goroutine that the first is about to run itself, since
// who puts a frame usually waits for the next one then. That is most of the time
// of PutFrame's slowest calls. So where the system has a way (poller), the sender
// waits for the kernel, as it would for a connection: the thread that looks for
// something to do finds it, and none is woken.
//
// Who does not wait after PutFrame but computes (an encoder) makes the sender wait
// until the runtime asks the kernel by itself, milliseconds later. A bell that was
// heard late a few times stays with the channel.
type bell struct {
	state  atomic.Int32
	plain  chan struct{}
	poller *poller // nil: there is none
	began  time.Time
	rungAt atomic.Int64       // since began; 0: not rung to the poller
	late   int                // of the goroutine that waits
	heard  func(uintptr) bool // made once, for wait would allocate it
}

// What a bell is doing.
const (
	bellSilent int32 = iota
	bellWaits        // on the channel
	bellPolls        // on the poller
	bellRung
)

const (
	bellLate    = 500 * time.Microsecond
	bellPatient = 3 // times
)

func newBell() *bell {
	b := &bell{plain: make(chan struct{}, 1), poller: newPoller(), began: time.Now()}
	b.heard = func(uintptr) bool {
		return !b.state.CompareAndSwap(bellSilent, bellPolls) && b.state.Load() == bellRung
	}
	return b
}

// ring lets the wait that goes on, or else the next one, return.
func (b *bell) ring() {
	switch b.state.Swap(bellRung) {
	case bellWaits:
		b.plain <- struct{}{}
	case bellPolls:
		b.rungAt.Store(int64(time.Since(b.began)))
		b.poller.signal()
	}
}

// wait returns once the bell has been rung since the last wait, now and then
// without.
func (b *bell) wait() {
	if b.poller == nil || b.late == bellPatient {
		if b.state.CompareAndSwap(bellSilent, bellWaits) {
			<-b.plain
		}
	} else {
		b.rungAt.Store(0)
		err := b.poller.wait(b.heard)
		if err != nil {
			b.late = bellPatient
		} else if at := b.rungAt.Load(); at != 0 && time.Since(b.began)-time.Duration(at) > bellLate {
			b.late++
		}
	}
	b.state.Store(bellSilent)
}

// close frees what the bell holds of the system, and is its last ring.
func (b *bell) close() {
	b.ring()
	if b.poller != nil {
		b.poller.close()
	}
}
