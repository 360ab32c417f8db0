// Package retention is the sweeper: it gives back the space of media that has
// expired, of streams that were deleted, and of what lies over a size cap. What
// has expired is hidden by the readers' horizon at once; the sweeper only
// reclaims, a while later and in small steps.
//
// It decides nothing about single fragments: files go as a whole when all in
// them has expired. Nothing is ever deleted because it is unknown: streams that
// the catalog does not list are left alone.
//
// Expiry is a matter of the clock, so the sweeper does not trust it blindly:
// while the wall clock and the machine's running time disagree about how much
// time has passed, nothing expires. See Sweeper.Sweep.
package retention

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/store"
)

// Stream is what the sweeper asks of a stream.
type Stream struct {
	ID        sluice.StreamID
	Retention time.Duration // media is kept for this long after it was received
	MaxBytes  int64         // most bytes on the disk; 0: no cap of its own
	Deleting  bool          // all of it goes, and then its name
}

// Store is what the sweeper uses of the store.
type Store interface {
	Trim(ctx context.Context, id sluice.StreamID, before time.Time) error
	Drop(ctx context.Context, id sluice.StreamID) error
	Cap(ctx context.Context, id sluice.StreamID, maxBytes int64) (store.Capped, error)
}

var _ Store = (*store.Store)(nil)

// Options of New. Streams, Store and Dropped are needed.
type Options struct {
	Streams func(ctx context.Context) iter.Seq2[Stream, error] // all there are
	Store   Store
	Dropped func(ctx context.Context, id sluice.StreamID) error // all of a deleted stream is gone: free its name

	MaxBytes       int64         // most bytes of media on the disk, of all streams; 0: no cap
	StreamMaxBytes int64         // the same for each stream without a cap of its own; 0: no cap
	Interval       time.Duration // between sweeps; 0: 30 s

	// OnCapped is told when media went before its time; id is "" for the server's cap.
	OnCapped func(id sluice.StreamID, c store.Capped)
	Logger   *slog.Logger
	Now      func() time.Time     // the wall clock
	Running  func() time.Duration // how long the machine has been running, whatever is done to the wall clock
}

const (
	// tolerance is how far the clocks may move apart between two sweeps: media goes
	// at most that much too early.
	tolerance = time.Minute
	// acceptAfter is how long a clock that jumped must have run evenly before it is
	// believed. Within it a server whose clock is wrong has been noticed: no signed
	// request gets in. A board without a battery for its clock jumps at every
	// start, and must reclaim at some time too.
	acceptAfter = 72 * time.Hour
	remindEvery = time.Hour
)

// Sweeper reclaims. Its methods are for one goroutine, Wake apart.
type Sweeper struct {
	o    Options
	wake chan struct{}

	offset   time.Duration // wall clock minus running time, as believed
	seen     time.Duration // the same at the last look
	jumped   bool
	since    time.Duration // running time of the last jump
	reminded time.Duration
}

// New makes a sweeper. It believes the wall clock as it is now.
func New(o Options) *Sweeper {
	if o.Interval == 0 {
		o.Interval = 30 * time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Running == nil {
		o.Running = running
	}
	s := &Sweeper{o: o, wake: make(chan struct{}, 1)}
	s.offset = s.look()
	s.seen = s.offset
	return s
}

// look is the wall clock minus the running time.
func (s *Sweeper) look() time.Duration {
	// Round(0) takes Go's own monotonic reading out of the time.
	return time.Duration(s.o.Now().Round(0).UnixMilli())*time.Millisecond - s.o.Running()
}

// Wake asks for a sweep now, as after a deletion. It never blocks.
func (s *Sweeper) Wake() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Run sweeps until the context ends. A failing sweep is logged and tried again.
func (s *Sweeper) Run(ctx context.Context) {
	t := time.NewTicker(s.o.Interval)
	defer t.Stop()
	for {
		if err := s.Sweep(ctx); err != nil && ctx.Err() == nil {
			s.o.Logger.Error("reclaiming space", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		case <-s.wake:
		}
	}
}

// Sweep reclaims what there is to reclaim. One stream's failure does not keep
// the others from their turn.
//
// Expired media is reclaimed only while the clock can be believed. Deleted
// streams and caps have nothing to do with the time and are always served.
func (s *Sweeper) Sweep(ctx context.Context) error {
	trust := s.believe()
	now := s.o.Now()
	var errs []error
	for st, err := range s.o.Streams(ctx) {
		if err != nil {
			errs = append(errs, fmt.Errorf("listing streams: %w", err))
			break
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := s.stream(ctx, st, now, trust); err != nil {
			errs = append(errs, fmt.Errorf("stream %s: %w", st.ID, err))
		}
	}
	if s.o.MaxBytes > 0 {
		errs = append(errs, s.cap(ctx, "", s.o.MaxBytes))
	}
	return errors.Join(errs...)
}

func (s *Sweeper) stream(ctx context.Context, st Stream, now time.Time, trust bool) error {
	if st.Deleting {
		if err := s.o.Store.Drop(ctx, st.ID); err != nil {
			return err
		}
		return s.o.Dropped(ctx, st.ID)
	}
	if trust {
		if err := s.o.Store.Trim(ctx, st.ID, now.Add(-st.Retention)); err != nil {
			return err
		}
	}
	most := st.MaxBytes
	if most == 0 {
		most = s.o.StreamMaxBytes
	}
	if most > 0 {
		return s.cap(ctx, st.ID, most)
	}
	return nil
}

func (s *Sweeper) cap(ctx context.Context, id sluice.StreamID, most int64) error {
	c, err := s.o.Store.Cap(ctx, id, most)
	if c.Files > 0 {
		what := "the server"
		if id != "" {
			what = "stream " + string(id)
		}
		s.o.Logger.Warn("media was deleted before its time: the size cap of "+what+" is reached",
			"stream", id, "max_bytes", most, "fragments", c.Fragments, "bytes", c.Bytes, "up_to", c.Newest)
		if s.o.OnCapped != nil {
			s.o.OnCapped(id, c)
		}
	}
	return err
}

// believe compares the clocks and reports whether the wall clock is to be
// believed. It drifts in small steps all the time; a large one is a jump, and
// then nothing expires until it is back where it was, or has run evenly for
// acceptAfter.
func (s *Sweeper) believe() bool {
	run := s.o.Running()
	at := s.look()
	step := at - s.seen
	s.seen = at
	if step.Abs() > tolerance {
		s.since, s.reminded = run, run
		s.jumped = (at - s.offset).Abs() > tolerance
		if s.jumped {
			s.o.Logger.Warn("the clock has jumped: nothing expires until it agrees again", "by", (at - s.offset).Round(time.Second),
				"accepted_after", acceptAfter)
			return false
		}
		s.o.Logger.Info("the clock agrees again")
	}
	if !s.jumped {
		s.offset = at
		return true
	}
	if (at - s.offset).Abs() <= tolerance { // slewed back in small steps
		s.jumped, s.offset = false, at
		s.o.Logger.Info("the clock agrees again")
		return true
	}
	if run-s.since >= acceptAfter {
		s.o.Logger.Warn("the clock that jumped has run evenly since and is believed from here on", "by", (at - s.offset).Round(time.Second))
		s.jumped, s.offset = false, at
		return true
	}
	if run-s.reminded >= remindEvery {
		s.reminded = run
		s.o.Logger.Warn("nothing expires: the clock has jumped; set it right, or restart the server if it is right now",
			"by", (at - s.offset).Round(time.Second))
	}
	return false
}
