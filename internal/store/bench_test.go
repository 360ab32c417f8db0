package store_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/db"
	"github.com/sluicevideo/sluice/internal/store"
	"github.com/sluicevideo/sluice/internal/store/fsys"
)

// plainAppender is what the store is compared with: it appends to one file and
// syncs after each batch, and that is all.
func plainAppender(b *testing.B, size, batch int) {
	file, err := fsys.OS{}.Create(filepath.Join(b.TempDir(), "plain"))
	if err != nil {
		b.Fatal(err)
	}
	defer file.Close()
	block := fsys.Aligned(size)
	var off int64
	b.SetBytes(int64(size * batch))
	for b.Loop() {
		for range batch {
			if _, err := file.WriteAt(block, off); err != nil {
				b.Fatal(err)
			}
			off += int64(size)
		}
		if err := file.Sync(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkAppend is one stream as fast as it goes, everything durable, beside
// the plain appender with the same batches in the same directory.
func BenchmarkAppend(b *testing.B) {
	for _, c := range []struct{ size, batch int }{{256 << 10, 1}, {256 << 10, 16}, {1 << 20, 16}} {
		name := fmt.Sprintf("%dKiBx%d", c.size>>10, c.batch)
		b.Run("plain-before/"+name, func(b *testing.B) { plainAppender(b, c.size, c.batch) })
		b.Run("store/"+name, func(b *testing.B) {
			h := newHouse(b, store.Options{Window: -1})
			id := streamID(0)
			e, _ := h.take(id)
			r := record(id, e, 0, c.size)
			counter := 0
			b.SetBytes(int64(c.size * c.batch))
			for b.Loop() {
				tickets := make([]*store.Ticket, c.batch)
				for i := range tickets {
					counter++
					m := r
					m.Number = sluice.MakeFragmentNumber(e.Sequence(uint64(counter)), uint64(r.ServerMs), 0)
					tickets[i] = h.Append(e, m)
				}
				wait(b, tickets...)
			}
		})
		b.Run("plain-after/"+name, func(b *testing.B) { plainAppender(b, c.size, c.batch) })
	}
}

// TestMillionsOfRows is the index at size: a page of a listing, and opening. Rows
// take minutes to make: those in SLUICE_ROWS_DIR are used again.
func TestMillionsOfRows(t *testing.T) {
	if !long() {
		t.Skip("10 million rows take minutes; set SLUICE_LONG=1")
	}
	const streams, step = 100, 20_000
	dir := os.Getenv("SLUICE_ROWS_DIR")
	if dir == "" {
		dir = t.TempDir()
	}
	open := func() *db.DB {
		d, err := db.Open(t.Context(), db.Options{Path: filepath.Join(dir, "index.db"), ManualCheckpoint: true})
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	d := open()
	o := store.Options{Dir: filepath.Join(dir, "media"), Index: d}
	s, err := store.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	var epochs [streams]store.Epoch
	for i := range epochs {
		if epochs[i], _, err = s.Take(t.Context(), streamID(i)); err != nil {
			t.Fatal(err)
		}
	}
	rows := 0
	if err := d.View().QueryRowContext(t.Context(), `SELECT count(*) FROM store_fragment`).Scan(&rows); err != nil {
		t.Fatal(err)
	}
	grow := func(to int) {
		t.Helper()
		for ; rows < to; rows += step {
			if err := s.InsertRows(t.Context(), streamID(rows/step%streams), epochs[rows/step%streams], rows/step/streams*step, step, t0); err != nil {
				t.Fatal(err)
			}
			if err := s.CheckpointNow(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	pages := func() (p50, p99 time.Duration) {
		t.Helper()
		var all []time.Duration
		for i := range 1000 {
			id := streamID(i * 37 % streams)
			from := time.UnixMilli(t0 + int64(i*7919%(10_000_000/streams-2000))*1000)
			begin := time.Now()
			n := 0
			for _, err := range s.List(context.Background(), id, store.Query{Clock: sluice.Clock(i % 2), From: from, Limit: 1000}) {
				if err != nil {
					t.Fatal(err)
				}
				n++
			}
			if n != 1000 {
				t.Fatalf("a page of %d", n)
			}
			all = append(all, time.Since(begin))
		}
		return quantiles(all)
	}
	for _, million := range []int{10, 11} {
		grow(million * 1_000_000)
		forget(t, d.Path())
		cold50, cold99 := pages()
		p50, p99 := pages()
		for range 2 { // other work on the machine is not what is asked here
			if a, b := pages(); b < p99 {
				p50, p99 = a, b
			}
		}
		size, err := d.View().QueryContext(t.Context(), `SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()`)
		if err != nil {
			t.Fatal(err)
		}
		var bytes int64
		if size.Next() {
			err = size.Scan(&bytes)
		}
		size.Close()
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%d rows, %d bytes a row: page of 1000 p50 %v p99 %v (first time %v, %v)", rows, bytes/int64(rows), p50, p99, cold50, cold99)
		if p99 > 10*time.Millisecond {
			t.Errorf("p99 of a page is %v, want below 10 ms", p99)
		}
	}
	// As after kill -9: the log is not moved, nothing is closed in order.
	if err := s.InsertRows(t.Context(), streamID(0), epochs[0], rows, step, t0); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	d2 := open()
	s2, err := store.Open(t.Context(), store.Options{Dir: o.Dir, Index: d2})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := s2.Take(t.Context(), streamID(1)); err != nil {
		t.Fatal(err)
	}
	took := time.Since(begin)
	t.Logf("opening and taking a stream: %v", took)
	if took > 2*time.Second {
		t.Errorf("opening took %v", took)
	}
	for _, c := range []interface{ Close() error }{s2, d2, s, d} {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}

// forget makes the kernel forget what it holds of the file, where it can.
func forget(t *testing.T, name string) {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := dropCache(f); err != nil {
		t.Logf("the first pass reads from the page cache: %v", err)
	}
}

func quantiles(all []time.Duration) (p50, p99 time.Duration) {
	slices.Sort(all)
	return all[len(all)/2], all[len(all)*99/100]
}
