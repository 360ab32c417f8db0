package retention_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
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
	wall    time.Time
	run     time.Duration
	streams []retention.Stream
	dropped []sluice.StreamID
	capped  int
}

func newBench(change func(*retention.Options)) *bench {
	b := &bench{wall: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)}
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
	}
	if change != nil {
		change(&o)
	}
	b.Sweeper = retention.New(o)
	return b
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
	}
	if err := b.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := []string{"trim a 2026-11-21 12:00:00", `cap "a" 500`, "trim b 2026-11-22 11:00:00", `cap "b" 70`, "drop c", `cap "" 1000`}
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
	if got := b.rec.take(); len(got) != 4 || len(b.dropped) != 0 {
		t.Errorf("%q, dropped %v", got, b.dropped)
	}
}

func TestAClockThatJumpsDeletesNothing(t *testing.T) {
	t.Parallel()
	const year = 365 * 24 * time.Hour
	for _, jump := range []time.Duration{time.Hour, -time.Hour, 10 * year, -10 * year, 2 * time.Minute} {
		b := newBench(nil)
		b.streams = []retention.Stream{{ID: "a", Retention: time.Hour}, {ID: "d", Deleting: true}}
		sweeps := func(want bool, when string) {
			t.Helper()
			if err := b.Sweep(t.Context()); err != nil {
				t.Fatal(err)
			}
			got := b.rec.take()
			if trimmed := slices.ContainsFunc(got, func(s string) bool { return s[:4] == "trim" }); trimmed != want {
				t.Errorf("jump %v, %s: trimmed %v, want %v", jump, when, trimmed, want)
			}
			if !slices.Contains(got, "drop d") {
				t.Errorf("jump %v, %s: a deletion waits", jump, when)
			}
		}
		sweeps(true, "at first")
		b.pass(30 * time.Second)
		sweeps(true, "later")
		b.wall = b.wall.Add(jump)
		for range 200 {
			b.pass(30 * time.Minute)
			if b.run > 71*time.Hour {
				break
			}
			sweeps(false, "after the jump")
		}
		b.wall = b.wall.Add(-jump)
		sweeps(true, "back")
		// A jump in several steps is one too; so is the way back in small ones.
		b.wall = b.wall.Add(jump)
		sweeps(false, "second jump")
		b.wall = b.wall.Add(5 * time.Minute)
		sweeps(false, "second step")
		b.wall = b.wall.Add(-5*time.Minute - jump)
		for range 3 {
			b.wall = b.wall.Add(20 * time.Second)
			sweeps(true, "drifting")
		}
		// One that stays is believed in the end.
		b.wall = b.wall.Add(jump)
		sweeps(false, "third jump")
		b.pass(71 * time.Hour)
		sweeps(false, "almost three days")
		b.pass(2 * time.Hour)
		sweeps(true, "after three days")
	}
}

func TestRunWakesAndEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(func(o *retention.Options) { o.Interval = time.Hour })
		b.streams = []retention.Stream{{ID: "d", Deleting: true}}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); b.Run(ctx) }()
		synctest.Wait()
		if len(b.dropped) != 1 {
			t.Errorf("%d sweeps at the start", len(b.dropped))
		}
		b.Wake()
		synctest.Wait()
		if len(b.dropped) != 2 {
			t.Errorf("%d sweeps after Wake", len(b.dropped))
		}
		time.Sleep(time.Hour + time.Second)
		synctest.Wait()
		if len(b.dropped) != 3 {
			t.Errorf("%d sweeps after an hour", len(b.dropped))
		}
		cancel()
		<-done
	})
}
