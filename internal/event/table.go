package event

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// maxRows bounds a Table. Its names come from tables of ours, never from a
// caller, so it is never reached; if it were, the rest would be counted together.
const maxRows = 1000

// Table counts by a word and a number.
type Table struct {
	rows sync.Map // Key -> *atomic.Int64
	n    atomic.Int64
}

// Key is a row's name.
type Key struct {
	Name string
	Code int
}

// Row is a row.
type Row struct {
	Key
	Count int64
}

// Add counts one.
func (t *Table) Add(name string, code int) {
	k := Key{name, code}
	row, ok := t.rows.Load(k)
	if !ok {
		if t.n.Load() >= maxRows {
			k = Key{Name: "other"}
		}
		var loaded bool
		if row, loaded = t.rows.LoadOrStore(k, new(atomic.Int64)); !loaded {
			t.n.Add(1)
		}
	}
	row.(*atomic.Int64).Add(1)
}

// Rows are the counts, ordered by name and code.
func (t *Table) Rows() []Row {
	var list []Row
	t.rows.Range(func(k, v any) bool {
		list = append(list, Row{k.(Key), v.(*atomic.Int64).Load()})
		return true
	})
	slices.SortFunc(list, func(a, b Row) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Code, b.Code)) })
	return list
}

// Bounds are the upper bounds of a Histogram's buckets; the last bucket has none.
var bounds = [...]time.Duration{
	time.Millisecond, 2 * time.Millisecond, 5 * time.Millisecond, 10 * time.Millisecond, 20 * time.Millisecond, 40 * time.Millisecond,
	100 * time.Millisecond, 200 * time.Millisecond, 500 * time.Millisecond, time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second,
}

// Histogram counts durations in buckets.
type Histogram struct {
	buckets [len(bounds) + 1]atomic.Int64
	sum     atomic.Int64
}

// Observe counts one.
func (h *Histogram) Observe(d time.Duration) {
	i, _ := slices.BinarySearch(bounds[:], d)
	h.buckets[i].Add(1)
	h.sum.Add(int64(d))
}

// Snapshot is the buckets as Prometheus counts them: how many were at most the
// bound, for each bound; and all of them, and their sum.
func (h *Histogram) Snapshot() (atMost map[time.Duration]uint64, count uint64, sum time.Duration) {
	atMost = make(map[time.Duration]uint64, len(bounds))
	for i := range h.buckets {
		count += uint64(h.buckets[i].Load())
		if i < len(bounds) {
			atMost[bounds[i]] = count
		}
	}
	return atMost, count, time.Duration(h.sum.Load())
}
