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
	entries []store.Entry         // ascending by number, without gaps from floor on
	floor   sluice.FragmentNumber // every durable fragment above it is in entries, as of asked
	asked   time.Time
}

const (
	// recentAge: for so long what the database said is taken for the present.
	recentAge = 50 * time.Millisecond
	// recentMax bounds the entries kept of one stream: two of the longest playlists.
	recentMax = 10_000
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

// following gives the durable fragments above after, in number order. What it
// returns must not be changed.
func (p *Playback) following(ctx context.Context, id sluice.StreamID, after sluice.FragmentNumber) ([]store.Entry, error) {
	return p.followingWithin(ctx, id, after, recentAge)
}

// followingWithin is following with what was known at most age ago.
func (p *Playback) followingWithin(ctx context.Context, id sluice.StreamID, after sluice.FragmentNumber, age time.Duration) ([]store.Entry, error) {
	r := p.recentOf(id)
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := p.o.Now(); r.asked.IsZero() || after.Compare(r.floor) < 0 || now.Sub(r.asked) >= age || now.Before(r.asked) {
		if r.asked.IsZero() || after.Compare(r.floor) < 0 {
			// Colder than what is kept: begin anew from there.
			r.entries, r.floor = nil, after
		}
		from := r.floor
		if n := len(r.entries); n > 0 {
			from = r.entries[n-1].Number
		}
		fresh := r.entries[:len(r.entries):len(r.entries)]
		for e, err := range p.o.Source.List(ctx, id, store.Query{Order: store.ByNumber, After: from}) {
			if err != nil {
				return nil, err
			}
			fresh = append(fresh, e)
		}
		if over := len(fresh) - recentMax; over > 0 && after.Compare(fresh[over-1].Number) >= 0 {
			r.floor = fresh[over-1].Number
			fresh = slices.Clone(fresh[over:])
		}
		r.entries, r.asked = fresh, now
	}
	i, found := slices.BinarySearchFunc(r.entries, after, func(e store.Entry, n sluice.FragmentNumber) int { return e.Number.Compare(n) })
	if found {
		i++
	}
	return r.entries[i:], nil
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
