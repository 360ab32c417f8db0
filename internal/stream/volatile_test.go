package stream_test

import (
	"testing"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/stream"
	"github.com/sluicevideo/sluice/internal/streamtest"
)

// Media without retention never holds up what is to be kept: under pressure it
// goes first, before media that is on the disk as well.
func TestTrapMediaWithoutRetentionYieldsFirst(t *testing.T) {
	t.Parallel()
	const size = 100 << 10
	s := start(t, func(o *streamtest.Settings) { o.Stream.Budget, o.Stream.MaxFragment = 8<<20, 200<<10 })
	live, kept := s.Create("live", 0), s.Create("kept", 24*time.Hour)
	a, b := s.join("live"), s.join("kept")
	tail := func(id sluice.StreamID) int { return s.reg.Activity(id).TailFragments }
	oldest, _ := s.put(b, 1, size)
	for i := range 100 {
		s.put(a, int64(i+1), size)
	}
	full := tail(live.ID)
	if full < 40 || full > 82 {
		t.Fatalf("%d fragments of a live stream in %d MiB", full, 8)
	}
	// Newer than all of that, and it takes its place.
	count := 1
	for ; tail(live.ID) > 0; count++ {
		if count > 100 {
			t.Fatalf("%d fragments of the live stream are left", tail(live.ID))
		}
		s.put(b, int64(count+1), size)
		if n := tail(kept.ID); n != count+1 {
			t.Fatalf("%d of %d fragments of the kept stream are in memory, and %d of the live one", n, count+1, tail(live.ID))
		}
	}
	if f := next(t, s.follow("kept", sluice.StartSelector{Type: sluice.SelectEarliest})); f.Number != oldest || f.Archived() {
		t.Errorf("the earliest is %v, from the archive: %v; want %v", f.Number, f.Archived(), oldest)
	}
	// What arrives on the live stream is followed all the same.
	c := s.follow("live", sluice.StartSelector{Type: sluice.SelectNow})
	o := s.begin(a, 1_000_000)
	s.add(o, elements(size, 1), 1_000_000)
	if f := next(t, c); f.Number != o.Number() {
		t.Errorf("live: %v, want %v", f.Number, o.Number())
	}
	o.Commit(t.Context())
	if m := s.reg.Memory(); m.Used > m.Budget {
		t.Errorf("%+v", m)
	}
}

// A live stream has 200 MB at most, however much room there is.
func TestTrapALiveStreamHasABound(t *testing.T) {
	t.Parallel()
	s := start(t)
	st := s.Create("live", 0)
	x := s.join("live")
	// All fragments share their bytes, so that the test needs none.
	b := elements(1_000_000, 1)
	var last *stream.Open
	for i := range 250 {
		last = s.begin(x, int64(i+1))
		s.add(last, b, int64(i+1))
		if err := wait(t, last.Commit(t.Context())); err != nil {
			t.Fatal(err)
		}
	}
	if a := s.reg.Activity(st.ID); a.TailBytes > 200_000_000 || a.TailBytes < 198_000_000 || a.LastFragment != last.Number() {
		t.Errorf("%d bytes in %d fragments", a.TailBytes, a.TailFragments)
	}
}
