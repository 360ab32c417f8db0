package producer

import "time"

// pendingFrame is a frame that waits for its turn, its data in a buffer that is
// used again.
type pendingFrame struct {
	Frame
	buf []byte
	at  time.Time // when it was put
}

// pendingFrames is a queue in a ring.
type pendingFrames struct {
	ring []pendingFrame
	head int
	n    int
}

// maxPending bounds the frames of one track that wait, whatever TrackWait says.
const maxPending = 1024

func (q *pendingFrames) len() int { return q.n }

func (q *pendingFrames) front() *pendingFrame { return &q.ring[q.head] }

// push copies f in.
func (q *pendingFrames) push(f Frame, now time.Time) {
	if q.n == len(q.ring) {
		bigger := make([]pendingFrame, max(8, 2*len(q.ring)))
		for i := range q.n {
			bigger[i] = q.ring[(q.head+i)%len(q.ring)]
		}
		q.ring, q.head = bigger, 0
	}
	p := &q.ring[(q.head+q.n)%len(q.ring)]
	p.buf = append(p.buf[:0], f.Data...)
	p.Frame, p.at = f, now
	p.Data = p.buf
	q.n++
}

// keepBuffer is the largest buffer that stays with its place in the ring: a key
// frame's would make every place as large.
const keepBuffer = 32 << 10

func (q *pendingFrames) pop() {
	p := &q.ring[q.head]
	if cap(p.buf) > keepBuffer {
		p.buf = nil
	}
	p.Frame = Frame{}
	q.head = (q.head + 1) % len(q.ring)
	q.n--
}
