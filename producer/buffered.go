package producer

import (
	"time"
)

type fragmentState uint8

const (
	queued  fragmentState = iota // to be sent
	sending                      // partly on the wire
	sent                         // wholly on the wire; an acknowledgement is due
	done                         // persisted, received without retention, skipped or dropped
)

// fragment is buffered media: the blocks of one Cluster. The Cluster's own
// header is made when it is sent, because relative timecodes count from the
// session. The stream's mutex guards it.
type fragment struct {
	seq    int64 // place in the stream, ascending
	header *header

	ticks      int64         // of the first frame: PTS / TimecodeScale, not relative to a session
	start, end time.Duration // lowest PTS, highest PTS + duration
	maxPTS     time.Duration
	frames     int
	tracks     uint8 // bit per track that has a frame

	chunks   []*chunk // nil once the bytes are let go or lie on disk only
	size     int      // bytes of blocks
	tail     []byte   // Tags after the blocks; set when complete
	explicit bool     // END_OF_FRAGMENT follows
	complete bool
	jump     bool          // its session must begin with it: time went back
	disk     spoolLocation // where it lies in the spool; zero: nowhere
	spoolID  uint64        // its name there; 0: none yet
	spilling bool          // handed to the spool's writer

	state      fragmentState
	session    *session // that sends or sent it
	attempts   int      // sessions that began to send it
	refusals   int      // ERROR acknowledgements it got
	wire       int64    // the Cluster timecode in that session
	released   bool     // bytes were let go while an acknowledgement was still possible
	buffering  bool
	received   bool
	persisted  bool
	finishedAt time.Time // when it was complete
	beganAt    time.Time // when its first byte was handed to the session
	sentAt     time.Time // when its last byte was
}

// held is the bytes of the store that the fragment occupies.
func (f *fragment) held() int64 { return int64(len(f.chunks)) * chunkSize }

// inMemory reports whether the bytes can be copied out of the chunks.
func (f *fragment) inMemory() bool { return f.chunks != nil || f.size == 0 }

// copyAt copies blocks from offset off on to p.
func (f *fragment) copyAt(p []byte, off int) int {
	n := 0
	for n < len(p) && off < f.size {
		c := f.chunks[off/chunkSize]
		at := off % chunkSize
		m := copy(p[n:], c[at:min(chunkSize, at+f.size-off)])
		n, off = n+m, off+m
	}
	return n
}

// append adds bytes; the chunks for them are there already.
func (f *fragment) append(p []byte) {
	for len(p) > 0 {
		c := f.chunks[f.size/chunkSize]
		m := copy(c[f.size%chunkSize:], p)
		f.size += m
		p = p[m:]
	}
}

// chunksFor is how many more chunks n further bytes need.
func (f *fragment) chunksFor(n int) int {
	need := (f.size + n + chunkSize - 1) / chunkSize
	return max(need-len(f.chunks), 0)
}

// Range is a stretch of media: exact times of whole fragments.
type Range struct {
	Start, End time.Time // producer time of the first frame, and of the end of the last
	Frames     int
	Bytes      int64
	Fragments  int
}

func (r Range) Duration() time.Duration { return r.End.Sub(r.Start) }

// spoolLocation is where a fragment lies on disk.
type spoolLocation struct {
	file   *spoolFile
	offset int64 // of the blocks
	size   int   // of the record and what was written with it
}
