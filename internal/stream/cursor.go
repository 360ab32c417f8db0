package stream

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/store"
)

// Cursor is a reader's place in a stream. It belongs to one goroutine; nothing
// has to be closed.
type Cursor struct {
	o     *opened
	after sluice.FragmentNumber // the next fragment is the first above it
	// until not zero: fragments that start before it, on clock, are passed over. It
	// is a start selector that waits for a time to come.
	until time.Time
	clock sluice.Clock

	ahead []store.Entry // read-ahead in the index, above after
	buf   []byte        // plain text of the archive
}

// readAhead is how many index rows a cursor in the archive asks for at once.
const readAhead = 64

// FragmentError says that one fragment cannot be read. The cursor stands behind
// it: Next goes on with the following one.
type FragmentError struct {
	Number sluice.FragmentNumber
	Err    error
}

func (e *FragmentError) Error() string { return e.Err.Error() }
func (e *FragmentError) Unwrap() error { return e.Err }

// Follow starts reading a stream. Numbers are positions and not names: reading
// starts at the first fragment above one, whatever it is. It returns the errors
// of Resolve, and key errors with their AckErrorCode, also for a stream that
// holds nothing.
//
//	NOW                 the fragment that arrives now, from its first byte; else the next
//	EARLIEST            the oldest inside the retention
//	FRAGMENT_NUMBER,
//	CONTINUATION_TOKEN  the first above the number
//	SERVER_TIMESTAMP,
//	PRODUCER_TIMESTAMP  the newest-numbered that contains the time, else the first
//	                    that starts later, also if that is still to come
func (r *Registry) Follow(ctx context.Context, ref sluice.StreamRef, from sluice.StartSelector) (*Cursor, error) {
	o, err := r.resolve(ctx, ref)
	if err != nil {
		return nil, err
	}
	if _, err := o.streamKey(ctx); err != nil {
		return nil, err
	}
	c := &Cursor{o: o}
	switch from.Type {
	case sluice.SelectNow:
		err = c.seekNow(ctx)
	case sluice.SelectEarliest:
	case sluice.SelectFragmentNumber, sluice.SelectContinuationToken:
		c.after = from.After
	case sluice.SelectServerTimestamp:
		err = c.seekTime(ctx, sluice.ServerClock, from.Time)
	case sluice.SelectProducerTimestamp:
		err = c.seekTime(ctx, sluice.ProducerClock, from.Time)
	default:
		err = &sluice.Error{Code: sluice.InvalidArgument, Msg: fmt.Sprintf("StartSelectorType: %q is not one of FRAGMENT_NUMBER, SERVER_TIMESTAMP, PRODUCER_TIMESTAMP, NOW, EARLIEST, CONTINUATION_TOKEN", from.Type)}
	}
	if err != nil {
		return nil, err
	}
	return c, nil
}

// before is the position in front of a fragment and behind every earlier one.
func before(n sluice.FragmentNumber) sluice.FragmentNumber {
	if n.Sequence() == 0 {
		return sluice.FragmentNumber{}
	}
	return sluice.MakeFragmentNumber(n.Sequence()-1, math.MaxUint64, math.MaxUint32)
}

func (c *Cursor) seekNow(ctx context.Context) error {
	o := c.o
	o.mu.Lock()
	for i := len(o.tail) - 1; i >= 0; i-- {
		if f := o.tail[i]; f.state == stateOpen {
			c.after = before(f.number)
			o.mu.Unlock()
			return nil
		}
	}
	c.after = o.last
	taken := o.taken
	o.mu.Unlock()
	if taken {
		return nil
	}
	_, last, _, _, err := o.r.o.Store.Span(ctx, o.id)
	if errors.Is(err, store.ErrNone) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%w: stream %s: %w", sluice.InternalError, o.id, err)
	}
	c.after = last.Number
	return nil
}

// start is a fragment's time on the clock.
func start(clock sluice.Clock, server, producer time.Time) time.Time {
	if clock == sluice.ProducerClock {
		return producer
	}
	return server
}

func (c *Cursor) seekTime(ctx context.Context, clock sluice.Clock, t time.Time) error {
	t = t.Truncate(time.Millisecond)
	o := c.o
	now := o.now()
	var best sluice.FragmentNumber // of the first that starts at or after t
	var bestStart time.Time
	o.mu.Lock()
	horizon, none := o.horizonLocked(now)
	for i := len(o.tail) - 1; i >= 0; i-- {
		f := o.tail[i]
		if !o.visibleLocked(f, now) {
			continue
		}
		begin := start(clock, f.server, f.producer)
		length := f.span
		if f.state == stateOpen {
			// What is still arriving reaches at least to now.
			length = max(f.length(), now.Sub(f.server))
		}
		if !begin.After(t) && !begin.Add(length).Before(t) {
			c.after = before(f.number)
			o.mu.Unlock()
			return nil
		}
		if !begin.Before(t) && (best.IsZero() || !begin.After(bestStart)) {
			best, bestStart = f.number, begin
		}
	}
	o.mu.Unlock()
	if !none {
		e, err := o.r.o.Store.AtTime(ctx, o.id, clock, t, horizon)
		if err != nil && !errors.Is(err, store.ErrNone) {
			return fmt.Errorf("%w: stream %s: %w", sluice.InternalError, o.id, err)
		}
		if err == nil {
			begin := start(clock, e.Server(), e.Producer())
			if begin.Before(t) || best.IsZero() || begin.Before(bestStart) || begin.Equal(bestStart) && e.Number.Compare(best) < 0 {
				best = e.Number
			}
		}
	}
	if !best.IsZero() {
		c.after = before(best)
		return nil
	}
	c.until, c.clock = t, clock
	return c.seekNow(ctx)
}

// visibleLocked reports whether readers may see a fragment of the tail: what is
// arriving always, media without retention for a while, else what is inside the
// retention.
func (o *opened) visibleLocked(f *frag, now time.Time) bool {
	age := now.Sub(f.server)
	switch {
	case f.state == stateOpen:
		return true
	case f.state == stateAborted:
		return false
	case f.volatile || o.about.Retention <= 0:
		return age <= volatileTime
	}
	return age <= o.about.Retention
}

// Position is behind the last fragment that Next returned: what a reader gives
// as a number or token to go on from here.
func (c *Cursor) Position() sluice.FragmentNumber { return c.after }

// Next gives the following fragment, in the order of numbers. It may be open
// still: its parts come as they arrive. At the live end Next waits. It returns
// ctx's error, ErrDeleted, ErrClosed, a key's error, or a *FragmentError.
func (c *Cursor) Next(ctx context.Context) (*Fragment, error) {
	o := c.o
	for {
		if err := ctx.Err(); err != nil {
			return nil, context.Cause(ctx)
		}
		now := o.now()
		o.mu.Lock()
		if o.gone {
			o.mu.Unlock()
			return nil, ErrDeleted
		}
		horizon, none := o.horizonLocked(now)
		f := o.nextLocked(c, now)
		archive := !none && (!o.taken || c.after.Compare(o.archived) < 0)
		var view *Fragment
		if f != nil && f.shown {
			view = o.viewLocked(f)
		}
		wait := o.waitLocked()
		archived, taken := o.archived, o.taken
		o.mu.Unlock()

		if archive {
			e, err := c.archived(ctx, horizon)
			switch {
			case errors.Is(err, store.ErrNone):
				if taken && c.after.Compare(archived) < 0 {
					c.after = archived // nothing is left below the tail
					continue
				}
			case err != nil:
				return nil, fmt.Errorf("%w: stream %s: %w", sluice.InternalError, o.id, err)
			case f == nil || e.Number.Compare(f.number) < 0:
				c.ahead = c.ahead[1:]
				c.after = e.Number
				if c.skip(e.Server(), e.Producer()) {
					continue
				}
				return c.load(ctx, e)
			}
		}
		if view != nil {
			c.after = view.Number
			if c.skip(view.Server, view.Producer) {
				continue
			}
			if _, err := o.streamKey(ctx); err != nil {
				return nil, keyOrDeleted(err)
			}
			return view, nil
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-o.r.closing:
			return nil, ErrClosed
		}
	}
}

func keyOrDeleted(err error) error {
	if sluice.CodeOf(err) == sluice.ResourceNotFound {
		return ErrDeleted
	}
	return err
}

// nextLocked is the first fragment of the tail above the cursor. One that is
// not shown yet is to be waited for: the order of numbers is kept.
func (o *opened) nextLocked(c *Cursor, now time.Time) *frag {
	for i := o.findLocked(c.after); i < len(o.tail); i++ {
		if f := o.tail[i]; f.number != c.after && o.visibleLocked(f, now) {
			return f
		}
	}
	return nil
}

// skip reports whether a fragment lies before the time that the cursor waits
// for.
func (c *Cursor) skip(server, producer time.Time) bool {
	if c.until.IsZero() {
		return false
	}
	if start(c.clock, server, producer).Before(c.until) {
		return true
	}
	c.until = time.Time{}
	return false
}

// archived is the next durable fragment above the cursor; it stays at the head
// of c.ahead.
func (c *Cursor) archived(ctx context.Context, horizon time.Time) (store.Entry, error) {
	for len(c.ahead) > 0 {
		if e := c.ahead[0]; e.Number.Compare(c.after) > 0 && !e.Server().Before(horizon) {
			return e, nil
		}
		c.ahead = c.ahead[1:]
	}
	c.ahead = c.ahead[:0:0]
	// The store goes by sequences. A number in a request may have a fragment's and
	// lie below it.
	q := store.Query{Order: store.ByNumber, After: before(c.after), NotBefore: horizon, Limit: readAhead + 1}
	if c.after.IsZero() {
		// Find the first one first: a long past may lie before the horizon.
		e, err := c.o.r.o.Store.After(ctx, c.o.id, c.after, horizon)
		if err != nil {
			return e, err
		}
		c.ahead = append(c.ahead, e)
		q.After, q.Limit = e.Number, readAhead-1
	}
	for e, err := range c.o.r.o.Store.List(ctx, c.o.id, q) {
		if err != nil {
			return store.Entry{}, err
		}
		if e.Number.Compare(c.after) > 0 {
			c.ahead = append(c.ahead, e)
		}
	}
	if len(c.ahead) == 0 {
		return store.Entry{}, store.ErrNone
	}
	return c.ahead[0], nil
}

// load reads the beginning of an archived fragment into the cursor's buffer.
func (c *Cursor) load(ctx context.Context, e store.Entry) (*Fragment, error) {
	f := c.o.archivedFragment(e, &c.buf)
	err := f.load(ctx)
	switch {
	case err == nil:
		return f, nil
	case errors.Is(err, ErrGone):
		return c.Next(ctx) // deleted by retention while we came
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case errors.Is(err, ErrDeleted):
		return nil, ErrDeleted
	}
	var code sluice.AckErrorCode
	if errors.As(err, &code) {
		return nil, err // the key's
	}
	return nil, &FragmentError{Number: e.Number, Err: err}
}
