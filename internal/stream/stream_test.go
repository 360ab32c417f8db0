package stream_test

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/fragment"
	"github.com/sluicevideo/sluice/internal/catalog"
	"github.com/sluicevideo/sluice/internal/leaktest"
	"github.com/sluicevideo/sluice/internal/store"
	"github.com/sluicevideo/sluice/internal/stream"
	"github.com/sluicevideo/sluice/internal/streamtest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// server is everything below the doors, and a pen to write with.
type server struct {
	*streamtest.Parts
	t      *testing.T
	reg    *stream.Registry
	frames uint32 // given out by add
}

func start(t *testing.T, change ...func(*streamtest.Settings)) *server {
	t.Helper()
	return of(t, streamtest.Start(t, change...))
}

func of(t *testing.T, p *streamtest.Parts) *server { return &server{Parts: p, t: t, reg: p.Streams} }

func ref(name string) sluice.StreamRef { return sluice.StreamRef{Name: name} }

func (s *server) join(name string) *stream.Session {
	s.t.Helper()
	x, err := s.reg.Join(s.t.Context(), ref(name), stream.SessionInfo{ID: "test"})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { x.Leave(nil) })
	return x
}

var header = &fragment.Header{
	First: []byte("EBML Segment Tracks"), Rest: []byte("EBML Segment Tracks"),
	Tracks: []sluice.Track{{Number: 1, Type: sluice.TrackVideo}}, Scale: time.Millisecond,
}

// clusterHead is a Cluster's id and an unknown size.
var clusterHead = []byte{0x1f, 0x43, 0xb6, 0x75, 0xff}

func elements(n int, seed byte) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = seed + byte(i*7)
	}
	copy(b, clusterHead)
	return b
}

func (s *server) begin(x *stream.Session, ms int64) *stream.Open {
	s.t.Helper()
	o, err := x.Begin(s.t.Context(), stream.FragmentHeader{Lead: header.Rest, Header: header, Timecode: ms, Producer: time.UnixMilli(ms)})
	if err != nil {
		s.t.Fatal(err)
	}
	return o
}

func (s *server) add(o *stream.Open, b []byte, ms ...int64) {
	s.t.Helper()
	var frames []fragment.Entry
	for _, m := range ms {
		// One byte each, in order, inside the first bytes.
		s.frames++
		frames = append(frames, fragment.Entry{Offset: s.frames, Size: 1, Track: 1, Timecode: time.Duration(m) * time.Millisecond})
	}
	if err := o.Append(s.t.Context(), b, frames); err != nil {
		s.t.Fatal(err)
	}
}

func wait(t *testing.T, k *stream.Ticket) error {
	t.Helper()
	select {
	case <-k.Done():
		return k.Err()
	case <-time.After(2 * time.Minute):
		t.Fatal("the ticket was never done")
		return nil
	}
}

// put writes one fragment of two frames and waits until it is decided.
func (s *server) put(x *stream.Session, ms int64, size int) (sluice.FragmentNumber, []byte) {
	s.t.Helper()
	o := s.begin(x, ms)
	b := elements(size, byte(ms))
	s.add(o, b[:size/2], ms)
	s.add(o, b[size/2:], ms+900)
	if err := wait(s.t, o.Commit(s.t.Context())); err != nil {
		s.t.Fatalf("fragment at %d: %v", ms, err)
	}
	return o.Number(), b
}

func (s *server) follow(name string, from sluice.StartSelector) *stream.Cursor {
	s.t.Helper()
	c, err := s.reg.Follow(s.t.Context(), ref(name), from)
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

func next(t *testing.T, c *stream.Cursor) *stream.Fragment {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	f, err := c.Next(ctx)
	if err != nil {
		t.Fatalf("next: %v", err)
	}
	return f
}

func read(t *testing.T, f *stream.Fragment) []byte {
	t.Helper()
	b, err := f.Elements(t.Context())
	if err != nil {
		t.Fatalf("elements of %v: %v", f.Number, err)
	}
	return bytes.Clone(b)
}

func TestAFragmentIsReadFromTailAndArchiveAlike(t *testing.T) {
	t.Parallel()
	s := start(t)
	st := s.Create("cam", 24*time.Hour)
	x := s.join("cam")
	var want [][]byte
	var numbers []sluice.FragmentNumber
	for i := range 5 {
		n, b := s.put(x, 1000*int64(i+1), 300_000*i+77)
		want, numbers = append(want, b), append(numbers, n)
	}
	check := func(s *server, where string) {
		t.Helper()
		c := s.follow("cam", sluice.StartSelector{Type: sluice.SelectEarliest})
		for i := range want {
			f := next(t, c)
			if f.Number != numbers[i] || !bytes.Equal(read(t, f), want[i]) {
				t.Errorf("%s: fragment %d differs", where, i)
			}
			if f.Length() != 900*time.Millisecond || f.Producer.UnixMilli() != 1000*int64(i+1) {
				t.Errorf("%s: fragment %d: length %v, producer %v", where, i, f.Length(), f.Producer)
			}
			g, err := s.reg.Get(t.Context(), st.ID, numbers[i])
			if err != nil || !bytes.Equal(read(t, g), want[i]) || !bytes.Equal(g.Leading, header.Rest) || g.Scale != time.Millisecond {
				t.Errorf("%s: got fragment %d: %v", where, i, err)
			}
			if x, err := g.Index(t.Context()); err != nil || len(x) != 2 || x[1].Timecode-x[0].Timecode != 900*time.Millisecond {
				t.Errorf("%s: index of %d: %v, %v", where, i, x, err)
			}
		}
		i := 0
		for e, err := range s.reg.List(t.Context(), st.ID, store.Query{}) {
			if err != nil || e.Number != numbers[i] || e.LengthMs != 900 || int(e.Bytes) != len(want[i]) {
				t.Errorf("%s: listed %d: %+v, %v", where, i, e, err)
			}
			i++
		}
		if i != len(want) {
			t.Errorf("%s: listed %d of %d", where, i, len(want))
		}
	}
	check(s, "tail")
	x.Leave(nil)
	check(of(t, s.Again()), "archive")
}

func TestFollowersSeeAFragmentArrive(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.Create("cam", 24*time.Hour)
	x := s.join("cam")
	c := s.follow("cam", sluice.StartSelector{Type: sluice.SelectNow})
	o := s.begin(x, 1000)
	b := elements(1000, 3)
	type got struct {
		part stream.Part
		err  error
	}
	parts := make(chan got)
	go func() {
		defer close(parts)
		f, err := c.Next(t.Context())
		if err != nil {
			parts <- got{err: err}
			return
		}
		for p, err := range f.Parts(t.Context()) {
			parts <- got{p, err}
		}
	}()
	for i := range 10 {
		s.add(o, b[i*100:(i+1)*100], 1000+int64(i))
		// The next is sent only after this one was seen.
		g := <-parts
		if g.err != nil || !bytes.Equal(g.part.Bytes, b[i*100:(i+1)*100]) || len(g.part.Frames) != 1 {
			t.Fatalf("part %d: %d bytes, %d frames, %v", i, len(g.part.Bytes), len(g.part.Frames), g.err)
		}
	}
	o.Commit(t.Context())
	if g, ok := <-parts; ok {
		t.Errorf("after the end: %v", g)
	}
}

func TestAnAbortedFragmentEndsUnderItsFollower(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.Create("cam", 24*time.Hour)
	x := s.join("cam")
	c := s.follow("cam", sluice.StartSelector{Type: sluice.SelectNow})
	o := s.begin(x, 1000)
	s.add(o, elements(500, 1), 1000)
	f := next(t, c)
	o.Abort(sluice.InvalidMKVData)
	n := 0
	var last error
	for p, err := range f.Parts(t.Context()) {
		n += len(p.Bytes)
		last = err
	}
	var code sluice.AckErrorCode
	if n != 500 || !errors.Is(last, stream.ErrAborted) || !errors.As(last, &code) || code != sluice.InvalidMKVData {
		t.Errorf("%d bytes, then %v", n, last)
	}
	want, b := s.put(x, 2000, 600)
	if f := next(t, c); f.Number != want || !bytes.Equal(read(t, f), b) {
		t.Errorf("after it came %v, want %v", f.Number, want)
	}
	if f.Number.Compare(want) >= 0 {
		t.Error("the aborted number is not below the next")
	}
}

// retain sets a stream's retention in hours.
func (s *server) retain(name string, hours int) {
	s.t.Helper()
	st, err := s.Catalog.Describe(s.t.Context(), ref(name))
	if err != nil {
		s.t.Fatal(err)
	}
	op, by := catalog.Increase, time.Duration(hours)*time.Hour-st.Retention
	if by < 0 {
		op, by = catalog.Decrease, -by
	}
	if _, err := s.Catalog.UpdateRetention(s.t.Context(), ref(name), st.Version, op, by); err != nil {
		s.t.Fatal(err)
	}
}
