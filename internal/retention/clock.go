package retention

import (
	"context"
	"time"

	"github.com/sluicevideo/sluice/internal/store"
)

const (
	// tolerance is how far the clocks may move apart between two sweeps: media goes
	// at most that much too early.
	tolerance = time.Minute
	// offTime is how long the machine may have been off, by a clock that nobody
	// vouches for. Longer, and it may be the clock that is wrong. Where the system
	// cannot say whether a time service keeps the clock, it is offTimeUnknown.
	offTime        = time.Hour
	offTimeUnknown = 7 * 24 * time.Hour
	// confirmAfter is how long a clock that jumped must have run evenly, with a time
	// service vouching for it, before it is believed.
	confirmAfter = time.Hour
	// settledAfter is how long a clock that is ahead by what may well be the time
	// the machine was off (offTimeUnknown at most) must have run evenly where nobody
	// vouches for any clock: somebody would have set it right by then.
	settledAfter = 24 * time.Hour
	noteEvery    = 10 * time.Minute
	remindEvery  = time.Hour
)

// clock is what the sweeper thinks of the wall clock. Times are offsets: the wall
// clock minus the machine's running time, which stays the same while both run
// evenly.
//
// While the machine runs, its running time tells how much time has passed, also
// while the server was down; so a clock that was set is noticed however small or
// large the step. Over a start of the machine that is not known: the clock can't
// be behind where it was, and may be ahead by what the machine was off.
//
// A clock that is not where it should be deletes nothing until it is, or until
// somebody vouches for it: the system's time service for an hour, or the operator
// by --accept-clock. After some days off it is believed when it has run evenly for
// a day, for machines that nobody vouches for. Boards without a battery start with an old time and are set
// by their time service a little later.
type clock struct {
	begun     bool
	low, high time.Duration // where it is believed
	seen      time.Duration // at the last look
	doubted   bool
	wasOff    bool          // the doubt is how long the machine was off
	since     time.Duration // running time of the last step
	reminded  time.Duration
	noted     time.Duration // running time when it was kept in the store
	kept      bool
}

// ClockState is what the last sweep thought of the wall clock.
type ClockState struct {
	Trusted bool          // else nothing expires
	OffBy   time.Duration // how far it is from where it should be; below 0: it is behind
}

// Clock is what the last sweep thought of the clock, and trusted before the
// first. It may be called by any goroutine.
func (s *Sweeper) Clock() ClockState {
	if c := s.state.Load(); c != nil {
		return *c
	}
	return ClockState{Trusted: true}
}

// since1970 is a time as an offset's wall clock.
func since1970(t time.Time) time.Duration { return time.Duration(t.UnixMilli()) * time.Millisecond }

// believe looks at the clocks and reports whether the wall clock is to be
// believed.
func (s *Sweeper) believe(ctx context.Context, wall time.Time) (bool, error) {
	c := &s.clock
	run := s.o.Running()
	at := since1970(wall) - run
	if !c.begun {
		last, err := s.o.Store.Clock(ctx)
		if err != nil {
			return false, err
		}
		c.begin(last, s.o, at, run)
	}
	step := at - c.seen
	c.seen = at
	if step.Abs() > tolerance {
		c.since, c.wasOff = run, false
	}
	off := c.off(at)
	switch {
	case off == 0 && c.doubted:
		s.o.Logger.Info("the clock agrees again")
		c.doubted = false
	case off == 0:
	case !c.doubted || step.Abs() > tolerance:
		c.doubted, c.since, c.reminded = true, run, run
		s.o.Logger.Warn("the clock is not where it should be: nothing expires until it agrees again. Set it right; if it is right, start the server once with --accept-clock",
			"off_by", off.Round(time.Second))
	case s.vouched() && run-c.since >= confirmAfter:
		s.o.Logger.Warn("the clock that was not where it should be is kept by a time service and is believed from here on", "was_off_by", off.Round(time.Second))
		c.doubted = false
	case c.wasOff && off > 0 && off <= offTimeUnknown && run-c.since >= settledAfter:
		s.o.Logger.Info("the machine was off for some time, it seems: the clock is believed from here on", "off_by", off.Round(time.Second))
		c.doubted = false
	case run-c.reminded >= remindEvery:
		c.reminded = run
		s.o.Logger.Warn("nothing expires: the clock is not where it should be. Set it right; if it is right, start the server once with --accept-clock",
			"off_by", off.Round(time.Second))
	}
	state := ClockState{Trusted: !c.doubted}
	if c.doubted {
		state.OffBy = off
	}
	s.state.Store(&state)
	if !c.doubted {
		c.low, c.high = at-tolerance, at+tolerance // it drifts in small steps all the time
	}
	if c.kept && run-c.noted < noteEvery {
		return !c.doubted, nil
	}
	// What is kept is what the time should be: with a clock that is believed, what
	// it is.
	c.kept, c.noted = true, run
	low := c.low + tolerance
	return !c.doubted, s.o.Store.SetClock(ctx, store.Clock{
		Wall: time.UnixMilli((low + run).Milliseconds()), Slack: c.high - tolerance - low, Running: run, Boot: s.o.Boot(),
	})
}

// begin says where the clock should be, by what was last known of it.
func (c *clock) begin(last store.Clock, o Options, at, run time.Duration) {
	c.begun, c.seen, c.since = true, at, run
	away := offTime
	if _, known := o.Synchronised(); !known {
		away = offTimeUnknown
	}
	was := since1970(last.Wall)
	switch here := o.Boot(); {
	case last.Wall.IsZero() || o.AcceptClock: // there is nothing to expire, or it is told
		c.low, c.high = at-tolerance, at+tolerance
	case here != 0 && last.Boot == here:
		c.low, c.high = was-last.Running-tolerance, was-last.Running+last.Slack+tolerance
	case last.Boot == 0 && here != 0:
		// All that is known is when media last came, before or after the machine was
		// started.
		c.low, c.high, c.wasOff = was-run-tolerance, was-run+away, true
	default:
		c.low, c.high, c.wasOff = was-run-tolerance, was+last.Slack+away, true
	}
}

// off is how far the clock is from where it should be; 0: it is there.
func (c *clock) off(at time.Duration) time.Duration {
	switch {
	case at < c.low:
		return at - c.low
	case at > c.high:
		return at - c.high
	}
	return 0
}

func (s *Sweeper) vouched() bool {
	synced, known := s.o.Synchronised()
	return synced && known
}
