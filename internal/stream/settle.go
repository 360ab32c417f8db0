package stream

import (
	"sync"

	"github.com/sluicevideo/sluice/internal/store"
)

// settler waits for the store's tickets, in the order in which they were given
// out, and tells the streams. One for the server: the store's batches complete
// in that order, so waiting for the oldest delays no other by more than a batch.
type settler struct {
	mu     sync.Mutex
	queue  []settlement
	closed bool
	more   chan struct{} // one token
}

type settlement struct {
	f *frag
	t *store.Ticket
}

func newSettler() *settler { return &settler{more: make(chan struct{}, 1)} }

func (s *settler) push(x settlement) {
	s.mu.Lock()
	s.queue = append(s.queue, x)
	s.mu.Unlock()
	s.nudge()
}

func (s *settler) nudge() {
	select {
	case s.more <- struct{}{}:
	default:
	}
}

// close lets run end when the queue is empty.
func (s *settler) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.nudge()
}

func (s *settler) run() {
	for {
		s.mu.Lock()
		batch, closed := s.queue, s.closed
		s.queue = nil
		s.mu.Unlock()
		for _, x := range batch {
			<-x.t.Done()
			x.f.o.settled(x.f, x.t)
		}
		if len(batch) > 0 {
			continue
		}
		if closed {
			return
		}
		<-s.more
	}
}
