package store

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/store/disk"
	"github.com/sluicevideo/sluice/internal/store/index"
	"github.com/sluicevideo/sluice/internal/store/segment"
)

// number gives what stands for the stream in rows, or ErrNone.
func (s *Store) number(ctx context.Context, id sluice.StreamID) (int64, error) {
	s.mu.Lock()
	n, ok := s.numbers[id]
	s.mu.Unlock()
	if ok {
		return n, nil
	}
	n, err := s.index.Find(ctx, id)
	if err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.lanes[id]; l != nil && l.dropped {
		return 0, ErrNone
	}
	s.numbers[id] = n
	return n, nil
}

// millis is the time in ms; the zero time is lowest.
func millis(t time.Time, zero int64) int64 {
	if t.IsZero() {
		return zero
	}
	return t.UnixMilli()
}

// horizon is notBefore in ms; the zero time is no horizon.
func horizon(notBefore time.Time) int64 { return millis(notBefore, math.MinInt64) }

// After gives the first durable fragment above the position after, of those
// whose server timestamp is not before notBefore (the zero time: of all). ErrNone
// says that there is none yet.
func (s *Store) After(ctx context.Context, id sluice.StreamID, after sluice.FragmentNumber, notBefore time.Time) (Entry, error) {
	n, err := s.number(ctx, id)
	if err != nil {
		return Entry{}, err
	}
	r, err := s.index.After(ctx, n, after, horizon(notBefore))
	if err != nil {
		return Entry{}, err
	}
	return entryOf(id, r), nil
}

// AtTime gives where GetMedia starts at t: the newest-numbered fragment that
// contains t, else the first that starts later, else ErrNone.
func (s *Store) AtTime(ctx context.Context, id sluice.StreamID, clock sluice.Clock, t, notBefore time.Time) (Entry, error) {
	n, err := s.number(ctx, id)
	if err != nil {
		return Entry{}, err
	}
	longest, err := s.index.Longest(ctx, n)
	if err != nil {
		return Entry{}, err
	}
	r, err := s.index.AtTime(ctx, n, clock, t.UnixMilli(), longest, horizon(notBefore))
	if err != nil {
		return Entry{}, err
	}
	return entryOf(id, r), nil
}

// Get gives the fragment of exactly that number, or ErrNone.
func (s *Store) Get(ctx context.Context, id sluice.StreamID, number sluice.FragmentNumber, notBefore time.Time) (Entry, error) {
	n, err := s.number(ctx, id)
	if err != nil {
		return Entry{}, err
	}
	r, err := s.index.Get(ctx, n, number, horizon(notBefore))
	if err != nil {
		return Entry{}, err
	}
	return entryOf(id, r), nil
}

// Mode is which fragments a time range selects.
type Mode uint8

const (
	Start   Mode = iota // those that start in it: ListFragments
	Overlap             // those that start before its end and end after its start, touching included: HLS, DASH, clips
)

// Order is the order of a listing.
type Order uint8

const (
	ByTime   Order = iota // by start on the query's clock, equal starts by number
	ByNumber              // by number; a narrow time range on a long stream is dear this way
)

// Query is a part of a stream. Its zero value is everything, by server time.
type Query struct {
	Clock     sluice.Clock
	From, To  time.Time // inclusive; zero: open
	Mode      Mode
	Order     Order
	NotBefore time.Time // server timestamps before it are not there; zero: no horizon
	Limit     int       // 0: no limit

	// Entries after this place in the order. With ByNumber After alone counts;
	// with ByTime they are the number and the start of the last entry seen, and
	// After's zero value means from the beginning.
	After     sluice.FragmentNumber
	AfterTime time.Time
}

// page is how many rows are read at once, so that no slow caller holds a read
// transaction open.
const page = 1000

// List gives the durable fragments of the query in order. A stream that is not
// known has none. An error ends the listing.
func (s *Store) List(ctx context.Context, id sluice.StreamID, q Query) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		n, err := s.number(ctx, id)
		if errors.Is(err, ErrNone) {
			return
		}
		if err != nil {
			yield(Entry{}, err)
			return
		}
		r, err := s.rangeOf(ctx, n, q)
		if err != nil {
			yield(Entry{}, err)
			return
		}
		left := q.Limit
		if left <= 0 {
			left = math.MaxInt
		}
		var rows []index.Row
		for size := min(page, left); left > 0; size = page {
			r.Limit = min(size, left)
			if rows, err = s.index.List(ctx, n, r, rows[:0]); err != nil {
				yield(Entry{}, err)
				return
			}
			for _, row := range rows {
				if !yield(entryOf(id, row), nil) {
					return
				}
			}
			if len(rows) < r.Limit {
				return
			}
			left -= len(rows)
			last := rows[len(rows)-1]
			r.AfterSequence, r.AfterStart = int64(last.Number.Sequence()), last.Start(q.Clock)
		}
	}
}

// rangeOf is the query as the index asks it.
func (s *Store) rangeOf(ctx context.Context, n int64, q Query) (index.Range, error) {
	r := index.All()
	r.Clock, r.ByNumber, r.Horizon = q.Clock, q.Order == ByNumber, horizon(q.NotBefore)
	r.To = millis(q.To, r.To)
	if !q.From.IsZero() {
		r.From = q.From.UnixMilli()
		if q.Mode == Overlap {
			longest, err := s.index.Longest(ctx, n)
			if err != nil {
				return r, err
			}
			r.EndFrom = r.From
			r.From -= longest
		}
	}
	if !q.After.IsZero() {
		r.AfterSequence = index.Position(q.After)
		r.AfterStart = millis(q.AfterTime, r.AfterStart)
	}
	return r, nil
}

// Span gives the stream's oldest and newest durable fragment, how many there are
// from one to the other, and the plain size of their elements; ErrNone when there
// is none.
func (s *Store) Span(ctx context.Context, id sluice.StreamID) (first, last Entry, count, bytes uint64, err error) {
	n, err := s.number(ctx, id)
	if err != nil {
		return Entry{}, Entry{}, 0, 0, err
	}
	a, b, bytes, err := s.index.Span(ctx, n)
	if err != nil {
		return Entry{}, Entry{}, 0, 0, err
	}
	return entryOf(id, a), entryOf(id, b), b.Position - a.Position + 1, bytes, nil
}

// Open opens the sealed bytes of an entry for reading. ErrNone says that the
// fragment has been deleted since; ErrCorrupt, with file and offset, that what is
// there is not it. A Blob that is open stays readable when its file is deleted.
func (s *Store) Open(ctx context.Context, e Entry) (*Blob, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	id := disk.FileID{Stream: e.Stream, Number: e.At.File}
	if !segment.ValidStream(id.Stream) {
		return nil, fmt.Errorf("store: stream id %q is no id", id.Stream)
	}
	rec, err := s.volume.Read(id, e.At.Offset)
	if err == nil && (rec.Number != e.Number || rec.Sealed != e.At.Sealed || rec.ProducerMs != e.ProducerMs ||
		rec.LengthMs != e.LengthMs || rec.Bytes != e.Bytes || rec.Tracks != e.Tracks) {
		rec.Close()
		err = fmt.Errorf("%w: the record is of fragment %v, not %v", segment.ErrFormat, rec.Number, e.Number)
	}
	switch {
	case err == nil:
		return &Blob{rec: rec, file: s.volume.Path(id), at: e.At.Offset}, nil
	case disk.Gone(err):
		// Deleted in the meantime, or lost? The index knows.
		if _, err := s.Get(ctx, e.Stream, e.Number, time.Time{}); err != nil {
			return nil, ErrNone
		}
		return nil, &CorruptError{File: s.volume.Path(id), Offset: e.At.Offset, Err: err}
	case errors.Is(err, segment.ErrFormat):
		return nil, &CorruptError{File: s.volume.Path(id), Offset: e.At.Offset, Err: err}
	}
	return nil, fmt.Errorf("store: %w", err)
}
