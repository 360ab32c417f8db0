package producer

import "sync"

// chunkSize is the unit of buffered media. A fragment wastes half of one on
// average: 16 KiB of a fragment that is 500 KB at 2 Mbit/s.
const chunkSize = 32 << 10

type chunk [chunkSize]byte

// store is the content store of a client: a hard budget of bytes over all its
// streams, and the chunks that go round.
type store struct {
	limit int64

	mu     sync.Mutex
	used   int64 // handed out or reserved, ≤ limit
	room   chan struct{}
	waited bool // somebody holds room, so release has to close it

	pool sync.Pool
}

func newStore(limit int64) *store {
	s := &store{limit: limit, room: make(chan struct{})}
	s.pool.New = func() any { return new(chunk) }
	return s
}

// reserve takes n bytes of the budget, or none.
func (s *store) reserve(n int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.used+n > s.limit {
		return false
	}
	s.used += n
	return true
}

// release gives n bytes back and wakes who waits for room.
func (s *store) release(n int64) {
	if n == 0 {
		return
	}
	s.mu.Lock()
	s.used -= n
	if s.waited {
		close(s.room)
		s.room, s.waited = make(chan struct{}), false
	}
	s.mu.Unlock()
}

// freed is closed when bytes are next given back.
func (s *store) freed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waited = true
	return s.room
}

func (s *store) inUse() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.used
}

// take hands out a chunk whose bytes are reserved already.
func (s *store) take() *chunk { return s.pool.Get().(*chunk) }

// put takes a chunk back; its bytes are released apart.
func (s *store) put(c *chunk) { s.pool.Put(c) }
