package playback

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/store"
)

// recent is the newest part of one stream's index in memory, so that a thousand
// viewers who poll each second do not ask the database a thousand times.
type recent struct {
	mu      sync.Mutex
	entries []store.Entry         // ascending by number, without gaps above floor; appended to, never changed
	floor   sluice.FragmentNumber // every durable fragment above it is in entries, as of asked
	asked   time.Time
}

const (
	// recentAge: for so long what the database said is taken for the present.
	recentAge = 50 * time.Millisecond
	// recentKeep is how many entries stay. Live sessions look at each fragment
	// once, soon after it became durable; who comes later asks the database.
	recentKeep = 256
)

func (p *Playback) recentOf(id sluice.StreamID) *recent {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.recent[id]
	if r == nil {
		if len(p.recent) >= maxTimelines {
			clear(p.recent) // all of it can be found again
		}
		r = &recent{}
		p.recent[id] = r
	}
	return r
}

// following gives the durable fragments above after, in number order, as they
// were at most age ago. What it returns must not be changed.
func (p *Playback) following(ctx context.Context, id sluice.StreamID, after sluice.FragmentNumber, age time.Duration) ([]store.Entry, error) {
	r := p.recentOf(id)
	r.mu.Lock()
	defer r.mu.Unlock()
	now := p.o.Now()
	cold := r.asked.IsZero() || after.Compare(r.floor) < 0
	if !cold && now.Sub(r.asked) < age && !now.Before(r.asked) {
		return r.above(after), nil
	}
	from := after
	if n := len(r.entries); !cold && n > 0 {
		from = r.entries[n-1].Number
	} else if !cold {
		from = r.floor
	}
	var fresh []store.Entry
	for e, err := range p.o.Source.List(ctx, id, store.Query{Order: store.ByNumber, After: from}) {
		if err != nil {
			return nil, err
		}
		fresh = append(fresh, e)
	}
	all := fresh
	if cold {
		r.entries, r.floor = nil, after
	}
	// A new array now and then, so that what was given out stays as it was.
	r.entries = append(r.entries[:len(r.entries):len(r.entries)], fresh...)
	r.asked = now
	if !cold {
		all = r.above(after)
	}
	if over := len(r.entries) - recentKeep; over > recentKeep {
		r.floor = r.entries[over-1].Number
		r.entries = slices.Clone(r.entries[over:])
	}
	return all, nil
}

func (r *recent) above(after sluice.FragmentNumber) []store.Entry {
	i, found := slices.BinarySearchFunc(r.entries, after, func(e store.Entry, n sluice.FragmentNumber) int { return e.Number.Compare(n) })
	if found {
		i++
	}
	return r.entries[i:]
}

// newest gives at most n of the newest durable fragments at or above first, in
// number order.
func (p *Playback) newest(ctx context.Context, id sluice.StreamID, first sluice.Sequence, n int) ([]store.Entry, error) {
	// The index is not read backwards: look at ever longer times before now.
	now := p.o.Now()
	for span := 30 * time.Second; ; span *= 4 {
		q := store.Query{Clock: sluice.ServerClock, From: now.Add(-span)}
		whole := span > 20*365*24*time.Hour
		if whole {
			q.From = time.Time{}
		}
		var got []store.Entry
		older := false
		for e, err := range p.o.Source.List(ctx, id, q) {
			if err != nil {
				return nil, err
			}
			if e.Number.Sequence() < first {
				older = true
				continue
			}
			got = append(got, e)
		}
		if len(got) >= n || older || whole {
			slices.SortFunc(got, func(a, b store.Entry) int { return a.Number.Compare(b.Number) })
			return got[max(0, len(got)-n):], nil
		}
	}
}
