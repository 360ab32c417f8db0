package retention_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/retention"
	"github.com/sluicevideo/sluice/internal/store"
)

// recorder is a store that notes what it is told.
type recorder struct {
	calls []string
	used  int64
	fail  error
	clock store.Clock
}

func (r *recorder) Clock(context.Context) (store.Clock, error) { return r.clock, nil }

func (r *recorder) SetClock(_ context.Context, c store.Clock) error {
	r.clock = c
	return nil
}

func (r *recorder) Trim(_ context.Context, id sluice.StreamID, before time.Time) error {
	r.calls = append(r.calls, fmt.Sprintf("trim %s %s", id, before.UTC().Format(time.DateTime)))
	return r.fail
}

func (r *recorder) Drop(_ context.Context, id sluice.StreamID) error {
	r.calls = append(r.calls, "drop "+string(id))
	return r.fail
}

func (r *recorder) Cap(_ context.Context, id sluice.StreamID, most int64) (store.Capped, error) {
	r.calls = append(r.calls, fmt.Sprintf("cap %q %d", id, most))
	if r.used > most {
		return store.Capped{Files: 1, Fragments: 10, Bytes: r.used - most}, nil
	}
	return store.Capped{}, nil
}

func (r *recorder) take() []string {
	c := r.calls
	r.calls = nil
	return c
}

// bench is a sweeper on clocks that the test sets.
type bench struct {
	*retention.Sweeper
	rec     recorder
	o       retention.Options
	wall    time.Time
	run     time.Duration
	boot    int64
	synced  bool
	unknown bool // whether it is synchronised
	streams []retention.Stream
	dropped []sluice.StreamID
	capped  int
}

func newBench(change func(*retention.Options)) *bench {
	b := &bench{wall: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC), run: 40 * 24 * time.Hour, boot: 1}
	o := retention.Options{
		Store: &b.rec,
		Streams: func(context.Context) iter.Seq2[retention.Stream, error] {
			return func(yield func(retention.Stream, error) bool) {
				for _, s := range b.streams {
					if !yield(s, nil) {
						return
					}
				}
			}
		},
		Dropped: func(_ context.Context, id sluice.StreamID) error {
			b.dropped = append(b.dropped, id)
			return nil
		},
		OnCapped: func(sluice.StreamID, store.Capped) { b.capped++ },
		Now:      func() time.Time { return b.wall },
		Running:  func() time.Duration { return b.run },
		Boot:     func() int64 { return b.boot },

		Synchronised: func() (bool, bool) { return b.synced, !b.unknown },
	}
	if change != nil {
		change(&o)
	}
	b.o, b.Sweeper = o, retention.New(o)
	return b
}

// restart starts the server again; the machine, too, when it was off for some
// time.
func (b *bench) restart(machine bool, off time.Duration) {
	if b.wall = b.wall.Add(off); machine {
		b.run, b.boot = 20*time.Second, b.boot+1
	} else {
		b.run += off
	}
	b.Sweeper = retention.New(b.o)
}

// trims sweeps and reports whether media could expire.
func (b *bench) trims(t *testing.T) bool {
	t.Helper()
	if err := b.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	trims := slices.ContainsFunc(b.rec.take(), func(s string) bool { return s[:4] == "trim" })
	if c := b.Clock(); c.Trusted != trims || trims && c.OffBy != 0 {
		t.Errorf("trimmed %v, and the clock is told as %+v", trims, c)
	}
	return trims
}

// pass lets the same time pass on both clocks.
func (b *bench) pass(d time.Duration) { b.wall, b.run = b.wall.Add(d), b.run+d }

func TestSweep(t *testing.T) {
	t.Parallel()
	b := newBench(func(o *retention.Options) { o.MaxBytes, o.StreamMaxBytes = 1000, 500 })
	b.streams = []retention.Stream{
		{ID: "a", Retention: 24 * time.Hour},
		{ID: "b", Retention: time.Hour, MaxBytes: 70},
		{ID: "c", Deleting: true},
		{ID: "e", Retention: time.Hour, MaxBytes: -1},
	}
	if err := b.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := []string{"trim a 2026-11-21 12:00:00", `cap "a" 500`, "trim b 2026-11-22 11:00:00", `cap "b" 70`, "drop c", "trim e 2026-11-22 11:00:00", `cap "" 1000`}
	if got := b.rec.take(); !slices.Equal(got, want) {
		t.Errorf("%q\nwant %q", got, want)
	}
	if !slices.Equal(b.dropped, []sluice.StreamID{"c"}) || b.capped != 0 {
		t.Errorf("dropped %v, capped %d", b.dropped, b.capped)
	}
	b.rec.used = 600
	if err := b.Sweep(t.Context()); err != nil || b.capped != 2 {
		t.Errorf("capped %d times, want 2 of 3; %v", b.capped, err)
	}
	// One failure keeps nobody else waiting, and no name is freed too early.
	b.rec.take()
	b.dropped, b.rec.fail = nil, errors.New("boom")
	if err := b.Sweep(t.Context()); !errors.Is(err, b.rec.fail) {
		t.Errorf("%v", err)
	}
	if got := b.rec.take(); len(got) != 5 || len(b.dropped) != 0 {
		t.Errorf("%q, dropped %v", got, b.dropped)
	}
}

const year = 365 * 24 * time.Hour

var jumps = []time.Duration{time.Hour, -time.Hour, 10 * year, -10 * year, 2 * time.Minute}

func TestAClockThatJumpsDeletesNothing(t *testing.T) {
	t.Parallel()
	for _, jump := range jumps {
		b := newBench(nil)
		b.streams = []retention.Stream{{ID: "a", Retention: time.Hour}, {ID: "d", Deleting: true}}
		sweeps := func(want bool, when string) {
			t.Helper()
			b.dropped = nil
			if got := b.trims(t); got != want {
				t.Errorf("jump %v, %s: trimmed %v, want %v", jump, when, got, want)
			}
			if len(b.dropped) != 1 {
				t.Errorf("jump %v, %s: a deletion waits", jump, when)
			}
		}
		sweeps(true, "at first")
		b.pass(30 * time.Second)
		sweeps(true, "later")
		b.wall = b.wall.Add(jump)
		for range 400 { // eight days
			b.pass(30 * time.Minute)
			sweeps(false, "after the jump")
		}
		b.wall = b.wall.Add(-jump)
		sweeps(true, "back")
		// A jump in several steps is one too; so is the way back in small ones.
		b.wall = b.wall.Add(jump)
		sweeps(false, "second jump")
		b.wall = b.wall.Add(5 * time.Minute)
		sweeps(false, "second step")
		// A minute to either side is where it should be.
		if off := b.Clock().OffBy; (jump + 5*time.Minute - off).Abs() > time.Minute {
			t.Errorf("jump %v and five minutes: off by %v", jump, off)
		}
		b.wall = b.wall.Add(-5*time.Minute - jump)
		for range 3 {
			b.wall = b.wall.Add(20 * time.Second)
			sweeps(true, "drifting")
		}
		// One that a time service vouches for is believed after an hour.
		b.wall, b.synced = b.wall.Add(jump), true
		sweeps(false, "third jump")
		b.pass(59 * time.Minute)
		sweeps(false, "almost an hour")
		b.synced = false
		b.pass(2 * time.Minute)
		sweeps(false, "the time service is gone")
		b.synced = true
		sweeps(true, "and back")
	}
}

// The clock is compared over restarts, too: exactly while the machine runs on,
// else by what it was last known to be.
func TestAClockThatIsWrongAtTheStartDeletesNothing(t *testing.T) {
	t.Parallel()
	for _, jump := range jumps {
		for _, machine := range []bool{false, true} {
			b := newBench(nil)
			b.streams = []retention.Stream{{ID: "a", Retention: time.Hour}}
			b.trims(t)
			check := func(want bool, when string) {
				t.Helper()
				if got := b.trims(t); got != want {
					t.Errorf("jump %v, machine restarted %v, %s: trimmed %v, want %v", jump, machine, when, got, want)
				}
			}
			b.pass(5 * time.Minute)
			b.restart(machine, 3*time.Minute)
			check(true, "restarted")
			// A step of two minutes while the machine was off can't be told from having
			// been off for two minutes more.
			if machine && jump > 0 && jump <= time.Hour {
				continue
			}
			b.restart(machine, 0)
			b.wall = b.wall.Add(jump)
			check(false, "with another clock")
			b.pass(100 * time.Hour)
			check(false, "days later")
			b.restart(false, time.Minute)
			check(false, "and restarted")
			if jump != 2*time.Minute {
				b.restart(true, time.Minute)
				check(false, "and the machine restarted")
			}
			b.wall = b.wall.Add(-jump)
			check(true, "with the right clock")
		}
	}
}

func TestAMachineThatWasOff(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	off := func(d time.Duration, change func(b *bench)) *bench {
		b := newBench(nil)
		b.streams = []retention.Stream{{ID: "a", Retention: time.Hour}}
		b.trims(t)
		change(b)
		b.restart(true, d)
		return b
	}
	if b := off(50*time.Minute, func(*bench) {}); !b.trims(t) {
		t.Error("50 minutes: not believed")
	}
	b := off(20*day, func(*bench) {})
	if b.trims(t) {
		t.Error("20 days: believed although nobody vouches for the clock")
	}
	b.o.AcceptClock = true
	if b.restart(false, 0); !b.trims(t) {
		t.Error("20 days: not believed although it was accepted")
	}
	b.o.AcceptClock = false
	if b.restart(false, time.Minute); !b.trims(t) {
		t.Error("20 days: accepted, and forgotten at the next start")
	}
	if b = off(3*day, func(*bench) {}); b.trims(t) {
		t.Error("3 days: believed at once")
	}
	if b.pass(25 * time.Hour); !b.trims(t) {
		t.Error("3 days: not believed after a day in which nobody set the clock")
	}
	b = off(20*day, func(*bench) {})
	if b.pass(25 * time.Hour); b.trims(t) {
		t.Error("20 days: believed after a day")
	}
	b = off(20*day, func(b *bench) { b.synced = true })
	if b.trims(t) {
		t.Error("20 days: believed at once")
	}
	if b.pass(61 * time.Minute); !b.trims(t) {
		t.Error("20 days: not believed although a time service vouches for it")
	}
	if b := off(6*day, func(b *bench) { b.unknown, b.boot, b.o.Boot = true, 0, func() int64 { return 0 } }); !b.trims(t) {
		t.Error("6 days, where the system says nothing: not believed")
	}
	// Nothing was kept yet, as after an upgrade or a reindex: the newest media tells.
	for off, want := range map[time.Duration]bool{0: true, 30 * time.Minute: true, 2 * time.Hour: false, 10 * year: false, -10 * year: false} {
		b := newBench(nil)
		b.streams = []retention.Stream{{ID: "a", Retention: time.Hour}}
		b.rec.clock = store.Clock{Wall: b.wall.Add(-off)}
		if got := b.trims(t); got != want {
			t.Errorf("the newest media %v before the start: trimmed %v, want %v", off, got, want)
		}
	}
}

func TestRunWakesAndEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var dropped atomic.Int64
		b := newBench(func(o *retention.Options) {
			o.Interval = time.Hour
			o.Dropped = func(context.Context, sluice.StreamID) error {
				dropped.Add(1)
				return nil
			}
		})
		b.streams = []retention.Stream{{ID: "d", Deleting: true}}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); b.Run(ctx) }()
		synctest.Wait()
		if dropped.Load() != 1 {
			t.Errorf("%d sweeps at the start", dropped.Load())
		}
		b.Wake()
		synctest.Wait()
		if dropped.Load() != 2 {
			t.Errorf("%d sweeps after Wake", dropped.Load())
		}
		time.Sleep(time.Hour + time.Second)
		synctest.Wait()
		if dropped.Load() != 3 {
			t.Errorf("%d sweeps after an hour", dropped.Load())
		}
		cancel()
		<-done
	})
}
