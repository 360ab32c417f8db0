package retention_test

import (
	"bytes"
	"context"
	"iter"
	"maps"
	"testing"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/fragment"
	"github.com/sluicevideo/sluice/internal/retention"
	"github.com/sluicevideo/sluice/internal/store"
	"github.com/sluicevideo/sluice/internal/stream"
	"github.com/sluicevideo/sluice/internal/streamtest"
)

// TestNothingIsDeletedByAClockThatJumps: over real media on a real disk, and over
// restarts of the server. While the clock is wrong cameras go on; when it is right
// again, all that is not older than the retention is there, what came meanwhile
// too.
func TestNothingIsDeletedByAClockThatJumps(t *testing.T) {
	t.Parallel()
	wall := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	var running time.Duration
	p := streamtest.Start(t, func(o *streamtest.Settings) { o.Now = func() time.Time { return wall } })
	st := p.Create("cam", 24*time.Hour)
	var sweeper *retention.Sweeper
	var session *stream.Session
	begin := func() {
		t.Helper()
		sweeper = retention.New(retention.Options{
			Streams: func(context.Context) iter.Seq2[retention.Stream, error] {
				return func(yield func(retention.Stream, error) bool) {
					yield(retention.Stream{ID: st.ID, Retention: st.Retention}, nil)
				}
			},
			Store: p.Store, Now: func() time.Time { return wall },
			Running: func() time.Duration { return running }, Boot: func() int64 { return 7 },
		})
		var err error
		if session, err = p.Streams.Join(t.Context(), streamtest.Ref("cam"), stream.SessionInfo{ID: "test"}); err != nil {
			t.Fatal(err)
		}
	}
	begin()
	defer func() { session.Leave(nil) }()
	restart := func() {
		t.Helper()
		session.Leave(nil)
		p = p.Again(func(o *streamtest.Settings) { o.Now = func() time.Time { return wall } })
		begin()
	}
	pass := func(d time.Duration) {
		t.Helper()
		wall, running = wall.Add(d), running+d
		if err := sweeper.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	head := &fragment.Header{First: []byte("head"), Rest: []byte("head"), Tracks: []sluice.Track{{Number: 1}}, Scale: time.Millisecond}
	sent := map[sluice.FragmentNumber][]byte{}
	put := func() {
		t.Helper()
		o, err := session.Begin(t.Context(), stream.FragmentHeader{Lead: head.Rest, Header: head, Producer: wall})
		if err != nil {
			t.Fatal(err)
		}
		b := append([]byte{0x1f, 0x43, 0xb6, 0x75, 0xff}, bytes.Repeat([]byte(o.Number().String()), 100)...)
		at := time.Duration(wall.UnixNano())
		if err := o.Append(t.Context(), b, []fragment.Entry{{Offset: 10, Size: 10, Track: 1, Timecode: at}, {Offset: 20, Size: 10, Track: 1, Timecode: at + time.Second}}); err != nil {
			t.Fatal(err)
		}
		ticket := o.Commit(t.Context())
		if <-ticket.Done(); ticket.Err() != nil {
			t.Fatal(ticket.Err())
		}
		sent[o.Number()] = b
	}
	stored := func() uint64 {
		t.Helper()
		_, _, n, _, err := p.Store.Span(t.Context(), st.ID)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	readable := func() (n int) {
		t.Helper()
		for e, err := range p.Streams.List(t.Context(), st.ID, store.Query{From: time.Unix(1, 0), To: wall.Add(100 * 365 * 24 * time.Hour)}) {
			if err != nil {
				t.Fatal(err)
			}
			f, err := p.Streams.Get(t.Context(), st.ID, e.Number)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := f.Elements(t.Context()); err != nil || !bytes.Equal(got, sent[e.Number]) {
				t.Errorf("fragment %v: %v", e.Number, err)
			}
			n++
		}
		return n
	}
	for range 12 {
		put()
		pass(time.Hour)
	}
	const year = 365 * 24 * time.Hour
	for _, restarts := range []bool{false, true} {
		for _, jump := range []time.Duration{time.Hour, -time.Hour, 10 * year, -10 * year} {
			if wall = wall.Add(jump); restarts {
				restart()
			}
			pass(0)
			for range 3 {
				put()
				pass(10 * time.Minute)
			}
			if restarts {
				restart()
				pass(0)
			}
			wall = wall.Add(-jump)
			pass(0)
			// What was received ten years ago, as the clock said, is hidden and will go.
			hidden := old(sent, wall.Add(-st.Retention))
			if jump != -10*year && hidden > 0 {
				t.Fatalf("after a jump by %v: %d fragments have expired", jump, hidden)
			}
			if n := stored(); int(n) < len(sent)-hidden {
				t.Fatalf("after a jump by %v: %d fragments of %d are there", jump, n, len(sent))
			}
			if n := readable(); n != len(sent)-hidden {
				t.Errorf("after a jump by %v: %d fragments can be read, want %d", jump, n, len(sent)-hidden)
			}
			maps.DeleteFunc(sent, func(f sluice.FragmentNumber, _ []byte) bool {
				return int64(f.ServerTimestamp()) < wall.Add(-st.Retention).UnixMilli()
			})
		}
	}
	// The sweeper has not gone to sleep.
	before := stored()
	for range 20 {
		pass(time.Hour)
	}
	if n := stored(); n >= before || n == 0 {
		t.Errorf("%d of %d fragments are left a day later", n, before)
	}
}

// old counts the fragments received before a time.
func old(sent map[sluice.FragmentNumber][]byte, before time.Time) (n int) {
	for f := range sent {
		if int64(f.ServerTimestamp()) < before.UnixMilli() {
			n++
		}
	}
	return n
}
