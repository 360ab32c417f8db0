package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/db"
	"github.com/sluicevideo/sluice/internal/store"
)

// house is a store in a directory of the test, opened again and again.
type house struct {
	*store.Store
	t     testing.TB
	dir   string
	index *db.DB
	o     store.Options
}

func newHouse(t testing.TB, o store.Options) *house {
	h := &house{t: t, dir: t.TempDir(), o: o}
	h.open()
	t.Cleanup(h.close)
	return h
}

func (h *house) open() {
	h.t.Helper()
	d, err := db.Open(h.t.Context(), db.Options{Path: filepath.Join(h.dir, "index.db"), ManualCheckpoint: true})
	if err != nil {
		h.t.Fatal(err)
	}
	o := h.o
	o.Dir, o.Index = filepath.Join(h.dir, "media"), d
	s, err := store.Open(h.t.Context(), o)
	if err != nil {
		d.Close()
		h.t.Fatal(err)
	}
	h.Store, h.index = s, d
}

func (h *house) close() {
	if err := errors.Join(h.Store.Close(), h.index.Close()); err != nil {
		h.t.Error(err)
	}
}

func (h *house) reopen() { h.close(); h.open() }

func (h *house) take(id sluice.StreamID) (store.Epoch, store.Last) {
	h.t.Helper()
	e, last, err := h.Take(h.t.Context(), id)
	if err != nil {
		h.t.Fatal(err)
	}
	return e, last
}

// streamID makes the id of the test's n-th stream.
func streamID(n int) sluice.StreamID { return sluice.StreamID(fmt.Sprintf("%032x", n+1)) }

func noise(seed uint64, n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16), byte(seed >> 24)}).Read(b)
	return b
}

const t0 int64 = 1_800_000_000_000 // ms

// record is the stream's fragment of that counter: a second long, one after the
// other, the producer's clock 100 ms behind.
func record(id sluice.StreamID, e store.Epoch, counter int, size int) store.Record {
	server := t0 + 1000*int64(counter)
	b := noise(uint64(counter)<<8|uint64(id[31]), size)
	return store.Record{
		Meta: store.Meta{
			Stream: id, Number: sluice.MakeFragmentNumber(e.Sequence(uint64(counter)), uint64(server), uint32(counter*7919)),
			ProducerMs: server - 100, ServerMs: server, LengthMs: 960, Bytes: uint32(size) - 40, Tracks: 1, Header: 0xfedc0000 + uint32(counter/3),
		},
		Sealed: [][]byte{b[:size/3], b[size/3:]},
	}
}

func body(r store.Record) []byte { return bytes.Join(r.Sealed, nil) }

func wait(t testing.TB, tickets ...*store.Ticket) {
	t.Helper()
	for i, k := range tickets {
		select {
		case <-k.Done():
		case <-time.After(time.Minute):
			t.Fatalf("ticket %d is stuck", i)
		}
		if err := k.Err(); err != nil {
			t.Fatalf("ticket %d: %v", i, err)
		}
	}
}

func (h *house) read(e store.Entry) []byte {
	h.t.Helper()
	b, err := readBlob(h.t.Context(), h.Store, e)
	if err != nil {
		h.t.Fatal(err)
	}
	return b
}

func readBlob(ctx context.Context, s *store.Store, e store.Entry) ([]byte, error) {
	blob, err := s.Open(ctx, e)
	if err != nil {
		return nil, err
	}
	defer blob.Close()
	b := make([]byte, blob.Size())
	if _, err := blob.ReadAt(b, 0); err != nil && err != io.EOF {
		return nil, err
	}
	return b, nil
}

func (h *house) list(id sluice.StreamID, q store.Query) []store.Entry {
	h.t.Helper()
	var out []store.Entry
	for e, err := range h.List(h.t.Context(), id, q) {
		if err != nil {
			h.t.Fatal(err)
		}
		out = append(out, e)
	}
	return out
}

func TestAppendAndReadBack(t *testing.T) {
	t.Parallel()
	h := newHouse(t, store.Options{MaxFile: 1 << 20})
	const streams, each = 3, 40
	type key struct {
		id sluice.StreamID
		n  sluice.FragmentNumber
	}
	want := map[key]store.Record{}
	counter := make([]int, streams)
	for round := range 3 {
		var tickets []*store.Ticket
		for i := range streams {
			id := streamID(i)
			e, last := h.take(id)
			if want := uint64(round * each); last.Next != want || (last.Number.IsZero()) != (round == 0) {
				t.Fatalf("round %d: %+v, want next %d", round, last, want)
			}
			for range each {
				size := []int{100, 4000, 70_000, 300_000}[counter[i]%4] + counter[i]
				r := record(id, e, counter[i], size)
				counter[i]++
				want[key{id, r.Number}] = r
				tickets = append(tickets, h.Append(e, r))
			}
		}
		wait(t, tickets...)
		h.reopen()
	}
	for i := range streams {
		id := streamID(i)
		got := h.list(id, store.Query{})
		if len(got) != 3*each {
			t.Fatalf("%d entries, want %d", len(got), 3*each)
		}
		var after sluice.FragmentNumber
		for pos, e := range got {
			r := want[key{id, e.Number}]
			if e.Meta != r.Meta || e.Position != uint64(pos) {
				t.Fatalf("entry %+v of record %+v, position %d", e, r.Meta, pos)
			}
			if !bytes.Equal(h.read(e), body(r)) {
				t.Fatalf("fragment %v reads back different", e.Number)
			}
			next, err := h.After(t.Context(), id, after, time.Time{})
			if err != nil || next != e {
				t.Fatalf("after %v: %+v %v, want %+v", after, next, err, e)
			}
			after = e.Number
			if g, err := h.Get(t.Context(), id, e.Number, time.Time{}); err != nil || g != e {
				t.Fatalf("get: %+v %v", g, err)
			}
		}
		if _, err := h.After(t.Context(), id, after, time.Time{}); !errors.Is(err, store.ErrNone) {
			t.Errorf("after the last: %v", err)
		}
		first, last, count, size, err := h.Span(t.Context(), id)
		var sum uint64
		for _, e := range got {
			sum += uint64(e.Bytes)
		}
		if err != nil || first != got[0] || last != got[len(got)-1] || count != 3*each || size != sum {
			t.Errorf("span %+v %+v %d %d %v, want %d bytes", first, last, count, size, err, sum)
		}
	}
}

func TestTakeFencesTheOneBefore(t *testing.T) {
	t.Parallel()
	h := newHouse(t, store.Options{})
	id := streamID(0)
	e1, _ := h.take(id)
	wait(t, h.Append(e1, record(id, e1, 0, 1000)))
	e2, last := h.take(id)
	if e2 <= e1 || last.Next != 1 {
		t.Fatalf("epochs %d %d, next %d", e1, e2, last.Next)
	}
	k := h.Append(e1, record(id, e1, 1, 1000))
	<-k.Done()
	if !errors.Is(k.Err(), store.ErrFenced) {
		t.Errorf("the old epoch appended: %v", k.Err())
	}
	// Another process takes it: only the index tells.
	other, err := store.Open(t.Context(), store.Options{Dir: filepath.Join(h.dir, "media"), Index: h.index})
	if err != nil {
		t.Fatal(err)
	}
	e3, _, err := other.Take(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	k = h.Append(e2, record(id, e2, 1, 1000))
	<-k.Done()
	if !errors.Is(k.Err(), store.ErrFenced) {
		t.Errorf("appended under another's epoch: %v", k.Err())
	}
	wait(t, other.Append(e3, record(id, e3, 1, 1000)))
	if err := other.Close(); err != nil {
		t.Error(err)
	}
	if got := h.list(id, store.Query{}); len(got) != 2 || got[1].Position != 1 {
		t.Errorf("%+v", got)
	}
}

func TestManyStreamsAtOnce(t *testing.T) {
	t.Parallel()
	h := newHouse(t, store.Options{Handles: 16})
	const streams, each = 60, 6
	var wg sync.WaitGroup
	for i := range streams {
		wg.Go(func() {
			id := streamID(i)
			e, _, err := h.Take(context.Background(), id)
			if err != nil {
				t.Error(err)
				return
			}
			for c := range each {
				k := h.Append(e, record(id, e, c, 20_000))
				<-k.Done()
				if k.Err() != nil {
					t.Error(k.Err())
				}
			}
		})
	}
	wg.Wait()
	for i := range streams {
		got := h.list(streamID(i), store.Query{})
		if len(got) != each {
			t.Fatalf("stream %d: %d", i, len(got))
		}
		for c, e := range got {
			if !bytes.Equal(h.read(e), body(record(streamID(i), store.Epoch(e.Number.Sequence()>>store.CounterBits), c, 20_000))) {
				t.Fatalf("stream %d fragment %d differs", i, c)
			}
		}
	}
}

func TestTrimAndDrop(t *testing.T) {
	t.Parallel()
	h := newHouse(t, store.Options{MaxFile: 100_000})
	id := streamID(0)
	e, _ := h.take(id)
	for c := range 50 { // one a batch: a file is left between batches
		wait(t, h.Append(e, record(id, e, c, 30_000)))
	}
	before := time.UnixMilli(t0 + 20_000)
	if got := h.list(id, store.Query{NotBefore: before}); len(got) != 30 || got[0].Position != 20 {
		t.Errorf("%d entries inside the horizon", len(got))
	}
	held, err := h.Get(t.Context(), id, record(id, e, 0, 1).Number, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	blob, err := h.Open(t.Context(), held)
	if err != nil {
		t.Fatal(err)
	}
	defer blob.Close()
	if err := h.Trim(t.Context(), id, before); err != nil {
		t.Fatal(err)
	}
	got := h.list(id, store.Query{})
	if len(got) < 30 || len(got) > 34 {
		t.Errorf("%d entries after trimming to 30, in files of about 4", len(got))
	}
	if _, err := blob.ReadAt(make([]byte, 30_000), 0); err != nil {
		t.Errorf("a reader lost its fragment: %v", err)
	}
	if _, err := h.Open(t.Context(), held); !errors.Is(err, store.ErrNone) {
		t.Errorf("opening what was trimmed: %v", err)
	}
	if err := h.Trim(t.Context(), id, time.UnixMilli(t0+1_000_000)); err != nil {
		t.Fatal(err)
	}
	if got := h.list(id, store.Query{}); len(got) != 0 {
		t.Errorf("%d entries after trimming all", len(got))
	}
	// Positions go on.
	k := h.Append(e, record(id, e, 50, 1000))
	wait(t, k)
	if k.Entry().Position != 50 {
		t.Errorf("position %d, want 50", k.Entry().Position)
	}
	h.reopen()
	e, last := h.take(id)
	if last.Next != 51 {
		t.Errorf("next %d", last.Next)
	}
	wait(t, h.Append(e, record(id, e, 51, 1000)))
	if err := h.Drop(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	k = h.Append(e, record(id, e, 52, 1000))
	<-k.Done()
	if !errors.Is(k.Err(), store.ErrFenced) {
		t.Errorf("append to a dropped stream: %v", k.Err())
	}
	if got := h.list(id, store.Query{}); len(got) != 0 {
		t.Errorf("%d entries of a dropped stream", len(got))
	}
	left, err := filepath.Glob(filepath.Join(h.dir, "media", "0*"))
	if err != nil || len(left) != 0 {
		t.Errorf("left on the disk: %v %v", left, err)
	}
}

// What is on the disk follows what is kept, not what was ever written.
func TestSteadyState(t *testing.T) {
	t.Parallel()
	now := time.UnixMilli(t0)
	o := crashOptions
	o.MaxFile, o.Now = 0, func() time.Time { return now }
	l := newLife(t, "steady", o)
	t.Cleanup(func() { l.close() })
	const retention, size = 10 * time.Minute, 30_000
	id := streamID(0)
	if err := errors.Join(l.open(), l.take(id)); err != nil {
		t.Fatal(err)
	}
	worst := 0.0
	for c := range 2400 { // a fragment a second for 40 minutes
		now = time.UnixMilli(t0 + 1000*int64(c))
		r := record(id, l.promise(id).epoch, c, size)
		r.Retention = retention
		wait(t, l.s.Append(l.promise(id).epoch, r))
		if c%30 == 0 {
			if err := l.s.Trim(t.Context(), id, now.Add(-retention)); err != nil {
				t.Fatal(err)
			}
		}
		used, err := l.s.Used(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if c > 700 {
			worst = max(worst, float64(used)/(retention.Seconds()*size))
		}
	}
	t.Logf("at most %.2f times the live bytes on the disk", worst)
	if worst > 1.3 {
		t.Errorf("the disk holds %.2f times the live bytes, want at most 1.3", worst)
	}
	if capped, err := l.s.Cap(t.Context(), id, 5_000_000); err != nil || capped.Files == 0 || capped.Fragments == 0 || capped.Newest.IsZero() {
		t.Errorf("%+v %v", capped, err)
	}
	if used, err := l.s.Used(t.Context(), ""); err != nil || used > 5_000_000 {
		t.Errorf("%d bytes used over a cap of 5,000,000, %v", used, err)
	}
}

// A cap holds also where it is less than a file: oldest first, of one stream or of
// all, and what is newest stays.
func TestCap(t *testing.T) {
	t.Parallel()
	h := newHouse(t, store.Options{})
	a, b := streamID(0), streamID(1)
	ea, _ := h.take(a)
	eb, _ := h.take(b)
	const size, most = 30_000, 600_000
	for c := range 60 {
		wait(t, h.Append(ea, record(a, ea, c, size)), h.Append(eb, record(b, eb, c, size)))
		if _, err := h.Cap(t.Context(), a, most); err != nil {
			t.Fatal(err)
		}
		if used, err := h.Used(t.Context(), a); err != nil || used > most*9/8+2*size {
			t.Fatalf("%d fragments: %d bytes used, %v", c, used, err)
		}
	}
	got := h.list(a, store.Query{Order: store.ByNumber})
	if n := len(got); n < 10 || n > 22 || got[n-1].ServerMs != t0+59_000 {
		t.Errorf("%d fragments left under the cap", n)
	}
	if n := len(h.list(b, store.Query{})); n != 60 {
		t.Errorf("another stream has %d of 60", n)
	}
	if c, err := h.Cap(t.Context(), "", 1_500_000); err != nil || c.Files == 0 {
		t.Errorf("of all: %+v, %v", c, err)
	}
	// The one that has both streams' oldest gives first.
	if x, y := len(h.list(a, store.Query{})), len(h.list(b, store.Query{})); x == 0 || y >= 60 {
		t.Errorf("%d and %d fragments left under the cap of all", x, y)
	}
}
