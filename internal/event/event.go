// Package event is how the parts of the server tell what happens: one method a
// fact, counted where it stands. Nothing waits, nothing fails and nothing is
// needed for correctness, so whatever must not be missed is never an event.
// Metrics read the counts; a Sink knows nothing of whoever does.
//
// The zero Sink and the nil Sink work: the nil Sink discards.
package event

import (
	"sync/atomic"
	"time"
)

// Sink counts. It is safe for any number of goroutines, and its fields are read
// with their Load.
type Sink struct {
	Calls Table // by operation and result: "DescribeStream 200"

	Sessions       Gauge // PutMedia sessions open
	SessionsEnded  Table // by why: "end", "silent", "limit", or the id of the ack that ended it
	FragmentsBegun Counter
	Fragments      Counter   // durable, or complete with retention 0
	Frames         Counter   // of those
	BytesIn        Counter   // of media, read from producers
	Aborted        Table     // fragments, by cause
	ErrorAcks      Table     // by id
	AcksDropped    Counter   // BUFFERING that a producer did not read in time
	Persist        Histogram // from the last byte of a fragment to its PERSISTED

	Readers     Gauge   // GetMedia connections open
	Delivered   Counter // fragments sent, by GetMedia and GetMediaForFragmentList
	BytesOut    Counter // of media, sent to readers
	FromArchive Counter // fragments a reader took from the disk and not from memory

	Commits     Histogram // one batch made durable: write, sync, index
	CommitSize  Counter   // records in them
	CommitBytes Counter
	CommitFails Counter // batches that were not made durable
	Trimmed     Counter // fragments that the size cap removed before their time
	Corrupt     Counter // records that did not read back as written
}

// Called is one API call, with its status.
func (s *Sink) Called(operation string, status int) {
	if s != nil {
		s.Calls.Add(operation, status)
	}
}

// SessionOpened is a PutMedia session that was accepted.
func (s *Sink) SessionOpened() {
	if s != nil {
		s.Sessions.Add(1)
	}
}

// SessionEnded is its end, and why in a word.
func (s *Sink) SessionEnded(why string) {
	if s != nil {
		s.Sessions.Add(-1)
		s.SessionsEnded.Add(why, 0)
	}
}

// MediaRead is media bytes that came from a producer.
func (s *Sink) MediaRead(n int) {
	if s != nil {
		s.BytesIn.Add(int64(n))
	}
}

// FragmentBegun is a Cluster's header.
func (s *Sink) FragmentBegun() {
	if s != nil {
		s.FragmentsBegun.Add(1)
	}
}

// FragmentDone is a fragment that has reached its last state: durable, or
// complete where nothing is kept. took counts from its last byte.
func (s *Sink) FragmentDone(frames int, took time.Duration) {
	if s != nil {
		s.Fragments.Add(1)
		s.Frames.Add(int64(frames))
		s.Persist.Observe(took)
	}
}

// FragmentAborted is a fragment that will never be durable. id is that of the
// ack it got, 0 for none.
func (s *Sink) FragmentAborted(id int) {
	if s != nil {
		s.Aborted.Add("", id)
	}
}

// ErrorAck is an ERROR acknowledgement sent.
func (s *Sink) ErrorAck(id int) {
	if s != nil {
		s.ErrorAcks.Add("", id)
	}
}

// AckDropped is a BUFFERING that was left out because the producer does not read.
func (s *Sink) AckDropped() {
	if s != nil {
		s.AcksDropped.Add(1)
	}
}

// ReaderOpened is a GetMedia connection.
func (s *Sink) ReaderOpened() {
	if s != nil {
		s.Readers.Add(1)
	}
}

// ReaderClosed is its end.
func (s *Sink) ReaderClosed() {
	if s != nil {
		s.Readers.Add(-1)
	}
}

// FragmentSent is a fragment delivered whole; archive: it was not in memory.
func (s *Sink) FragmentSent(archive bool) {
	if s != nil {
		s.Delivered.Add(1)
		if archive {
			s.FromArchive.Add(1)
		}
	}
}

// MediaSent is media bytes that went to a reader.
func (s *Sink) MediaSent(n int) {
	if s != nil {
		s.BytesOut.Add(int64(n))
	}
}

// Committed is a batch made durable.
func (s *Sink) Committed(records int, bytes int64, took time.Duration) {
	if s != nil {
		s.Commits.Observe(took)
		s.CommitSize.Add(int64(records))
		s.CommitBytes.Add(bytes)
	}
}

// CommitFailed is a batch, or a part of one, that was not made durable.
func (s *Sink) CommitFailed() {
	if s != nil {
		s.CommitFails.Add(1)
	}
}

// FragmentsTrimmed is n fragments removed for space, before their time.
func (s *Sink) FragmentsTrimmed(n int) {
	if s != nil {
		s.Trimmed.Add(int64(n))
	}
}

// CorruptRecord is a record that did not read back as written.
func (s *Sink) CorruptRecord() {
	if s != nil {
		s.Corrupt.Add(1)
	}
}

// Counter only grows.
type Counter struct{ n atomic.Int64 }

// Add counts n more.
func (c *Counter) Add(n int64) { c.n.Add(n) }

// Load is the count.
func (c *Counter) Load() int64 { return c.n.Load() }

// Gauge goes up and down.
type Gauge = Counter
