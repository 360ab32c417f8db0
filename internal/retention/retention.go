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
// time has passed, nothing expires, over restarts too. See clock.go.
package retention

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/store"
)

// Stream is what the sweeper asks of a stream.
type Stream struct {
	ID        sluice.StreamID
	Name      string        // for the log
	Retention time.Duration // media is kept for this long after it was received
	MaxBytes  int64         // most bytes on the disk; 0: no cap of its own, below 0: none at all
	Deleting  bool          // all of it goes, and then its name
}

// Store is what the sweeper uses of the store.
type Store interface {
	Trim(ctx context.Context, id sluice.StreamID, before time.Time) error
	Drop(ctx context.Context, id sluice.StreamID) error
	Cap(ctx context.Context, id sluice.StreamID, maxBytes int64) (store.Capped, error)
	Clock(ctx context.Context) (store.Clock, error)
	SetClock(ctx context.Context, c store.Clock) error
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

	// AcceptClock believes the wall clock as it is at the first sweep.
	AcceptClock bool
	Now         func() time.Time     // the wall clock
	Running     func() time.Duration // how long the machine has been running, whatever is done to the wall clock
	Boot        func() int64         // tells one start of the machine, from which Running counts, from another; 0: not known
	// Synchronised is whether the system says that a time service keeps the wall
	// clock right; known is false where it does not say. nil: it never does.
	Synchronised func() (synced, known bool)
}

// Sweeper reclaims. Its methods are for one goroutine, Wake and Clock apart.
type Sweeper struct {
	o     Options
	wake  chan struct{}
	clock clock
	state atomic.Pointer[ClockState]
}

// New makes a sweeper.
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
		if o.Boot == nil {
			o.Boot = boot
		}
	}
	if o.Boot == nil {
		o.Boot = func() int64 { return 0 }
	}
	if o.Synchronised == nil {
		o.Synchronised = func() (synced, known bool) { return false, false }
	}
	return &Sweeper{o: o, wake: make(chan struct{}, 1)}
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
	var errs []error
	now := s.o.Now().Round(0) // without Go's own monotonic reading
	trust, err := s.believe(ctx, now)
	if err != nil {
		errs = append(errs, err)
	}
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
		errs = append(errs, s.cap(ctx, "", "", s.o.MaxBytes))
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
		return s.cap(ctx, st.ID, st.Name, most)
	}
	return nil
}

func (s *Sweeper) cap(ctx context.Context, id sluice.StreamID, name string, most int64) error {
	c, err := s.o.Store.Cap(ctx, id, most)
	if c.Files > 0 {
		what := "the server"
		if id != "" {
			what = "stream " + name
		}
		s.o.Logger.Warn("media was deleted before its time: the size cap of "+what+" is reached",
			"stream", id, "max_bytes", most, "fragments", c.Fragments, "bytes", c.Bytes, "up_to", c.Newest)
		if s.o.OnCapped != nil {
			s.o.OnCapped(id, c)
		}
	}
	return err
}
