package store_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/store"
)

// model is the store as a slice: what it must answer, said as plainly as can be.
type model struct {
	epoch   store.Epoch
	counter int
	server  int64 // the server's clock, which may run backwards
	next    uint64
	held    []store.Entry // in number order; the location is not compared
	body    map[sluice.FragmentNumber][]byte
}

func start(e store.Entry, c sluice.Clock) int64 {
	if c == sluice.ProducerClock {
		return e.ProducerMs
	}
	return e.ServerMs
}

func (m *model) after(n sluice.FragmentNumber, horizon int64) (store.Entry, bool) {
	for _, e := range m.held {
		if e.Number.Compare(n) > 0 && e.ServerMs >= horizon {
			return e, true
		}
	}
	return store.Entry{}, false
}

func (m *model) atTime(c sluice.Clock, t, horizon int64) (best store.Entry, ok bool) {
	for _, e := range m.held {
		if s := start(e, c); e.ServerMs >= horizon && s <= t && s+int64(e.LengthMs) >= t {
			best, ok = e, true // the last is the newest-numbered
		}
	}
	if ok {
		return best, true
	}
	for _, e := range m.held {
		if s := start(e, c); e.ServerMs >= horizon && s >= t && (!ok || s < start(best, c)) {
			best, ok = e, true
		}
	}
	return best, ok
}

func (m *model) list(q store.Query) []store.Entry {
	var out []store.Entry
	for _, e := range m.held {
		s := start(e, q.Clock)
		switch {
		case !q.NotBefore.IsZero() && e.ServerMs < q.NotBefore.UnixMilli():
		case !q.To.IsZero() && s > q.To.UnixMilli():
		case !q.From.IsZero() && q.Mode == store.Start && s < q.From.UnixMilli():
		case !q.From.IsZero() && q.Mode == store.Overlap && s+int64(e.LengthMs) < q.From.UnixMilli():
		default:
			out = append(out, e)
		}
	}
	if q.Order == store.ByTime {
		slices.SortStableFunc(out, func(a, b store.Entry) int { return cmp.Compare(start(a, q.Clock), start(b, q.Clock)) })
	}
	if !q.After.IsZero() {
		i := 0
		for ; i < len(out); i++ {
			e := out[i]
			if q.Order == store.ByNumber {
				if e.Number.Compare(q.After) > 0 {
					break
				}
			} else if s, t := start(e, q.Clock), q.AfterTime.UnixMilli(); s > t || s == t && e.Number.Compare(q.After) > 0 {
				break
			}
		}
		out = out[i:]
	}
	if q.Limit > 0 && len(out) > q.Limit {
		out = out[:q.Limit]
	}
	return out
}

func bare(e store.Entry) store.Entry { e.At = store.Location{}; return e }

// TestRandomHistory runs random operations on the store and on the model and
// compares every answer.
func TestRandomHistory(t *testing.T) {
	t.Parallel()
	operations := 2000
	if long() {
		operations = 100_000
	}
	o := crashOptions
	o.MaxFile = 24 << 10
	l := newLife(t, "model", o)
	t.Cleanup(func() { l.close() })
	if err := l.open(); err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	r := rand.New(rand.NewPCG(2026, 11))
	models := map[sluice.StreamID]*model{}
	var ids []sluice.StreamID
	made := 0
	fatal := func(i int, what string, args ...any) {
		t.Helper()
		t.Fatalf("operation %d: %s", i, fmt.Sprintf(what, args...))
	}
	counts := map[string]int{}
	for i := range operations {
		if len(ids) == 0 || len(ids) < 6 && r.IntN(40) == 0 {
			id := streamID(made)
			made++
			ids = append(ids, id)
			e, last, err := l.s.Take(ctx, id)
			if err != nil || last.Next != 0 {
				fatal(i, "create: %+v %v", last, err)
			}
			models[id] = &model{epoch: e, server: t0, body: map[sluice.FragmentNumber][]byte{}}
			counts["create"]++
		}
		id := ids[r.IntN(len(ids))]
		m := models[id]
		clock := sluice.Clock(r.IntN(2))
		someTime := func() int64 { return m.server - 60_000 + r.Int64N(70_000) }
		horizon := time.Time{}
		if r.IntN(3) == 0 {
			horizon = time.UnixMilli(m.server - r.Int64N(80_000))
		}
		low := int64(-1 << 62)
		if !horizon.IsZero() {
			low = horizon.UnixMilli()
		}
		position := func() sluice.FragmentNumber {
			switch {
			case len(m.held) == 0 || r.IntN(8) == 0:
				return []sluice.FragmentNumber{{}, sluice.MaxFragmentNumber, sluice.MakeFragmentNumber(1<<61, 0, 0)}[r.IntN(3)]
			default:
				n := m.held[r.IntN(len(m.held))].Number
				// At it, a little below, a little above.
				return sluice.MakeFragmentNumber(n.Sequence(), n.ServerTimestamp(), n.Low()+uint32(r.IntN(3))-1)
			}
		}
		switch op := r.IntN(100); {
		case op < 40:
			counts["put"]++
			n := 1 + r.IntN(3)
			tickets := make([]*store.Ticket, n)
			for k := range n {
				m.server += []int64{1000, 1000, 1000, 0, 40, -500}[r.IntN(6)]
				if r.IntN(200) == 0 {
					m.server += []int64{-3_600_000, 3_600_000}[r.IntN(2)]
				}
				rec := record(id, m.epoch, m.counter, 1+r.IntN(3000))
				rec.Number = sluice.MakeFragmentNumber(m.epoch.Sequence(uint64(m.counter)), uint64(m.server), uint32(r.Uint64()))
				rec.ServerMs, rec.LengthMs = m.server, uint32(r.IntN(3000))
				rec.ProducerMs = m.server - []int64{100, 100, 5000, -200}[r.IntN(4)]/int64(1+r.IntN(2))*int64(r.IntN(2))
				m.counter += 1 + r.IntN(2)
				m.held = append(m.held, store.Entry{Meta: rec.Meta, Position: m.next})
				m.body[rec.Number] = body(rec)
				m.next++
				tickets[k] = l.s.Append(m.epoch, rec)
			}
			wait(t, tickets...)
			for k, ticket := range tickets {
				if want := m.held[len(m.held)-n+k]; bare(ticket.Entry()) != want {
					fatal(i, "put: %+v, want %+v", ticket.Entry(), want)
				}
			}
		case op < 52:
			counts["after"]++
			n := position()
			want, ok := m.after(n, low)
			got, err := l.s.After(ctx, id, n, horizon)
			if ok != (err == nil) || !ok && !errors.Is(err, store.ErrNone) || bare(got) != want {
				fatal(i, "after %v, horizon %v: %+v %v, want %+v", n, horizon, got, err, want)
			}
			if ok {
				b, err := readBlob(ctx, l.s, got)
				if err != nil || !bytes.Equal(b, m.body[got.Number]) {
					fatal(i, "reading %v: %v", got.Number, err)
				}
			}
		case op < 64:
			counts["at time"]++
			at := someTime()
			if len(m.held) > 0 && r.IntN(2) == 0 { // at a border
				e := m.held[r.IntN(len(m.held))]
				at = start(e, clock) + []int64{0, int64(e.LengthMs), int64(e.LengthMs) + 1, -1}[r.IntN(4)]
			}
			want, ok := m.atTime(clock, at, low)
			got, err := l.s.AtTime(ctx, id, clock, time.UnixMilli(at), horizon)
			if ok != (err == nil) || !ok && !errors.Is(err, store.ErrNone) || bare(got) != want {
				fatal(i, "at %d by clock %d, horizon %v: %+v %v, want %+v", at, clock, horizon, got, err, want)
			}
		case op < 80:
			counts["list"]++
			q := store.Query{Clock: clock, Mode: store.Mode(r.IntN(2)), Order: store.Order(r.IntN(2)), NotBefore: horizon}
			if r.IntN(2) == 0 {
				q.From = time.UnixMilli(someTime())
			}
			if r.IntN(2) == 0 {
				q.To = time.UnixMilli(someTime())
			}
			if r.IntN(2) == 0 {
				q.Limit = 1 + r.IntN(20)
			}
			if r.IntN(3) == 0 && len(m.held) > 0 {
				e := m.held[r.IntN(len(m.held))]
				q.After, q.AfterTime = e.Number, time.UnixMilli(start(e, clock))
			}
			want := m.list(q)
			k := 0
			for e, err := range l.s.List(ctx, id, q) {
				if err != nil || k >= len(want) || bare(e) != want[k] {
					fatal(i, "list %+v: entry %d is %+v %v of %d", q, k, e, err, len(want))
				}
				k++
			}
			if k != len(want) {
				fatal(i, "list %+v: %d entries, want %d", q, k, len(want))
			}
		case op < 86:
			counts["get"]++
			n := position()
			_, ok := m.body[n]
			got, err := l.s.Get(ctx, id, n, time.Time{})
			if ok != (err == nil) || ok && got.Number != n {
				fatal(i, "get %v: %+v %v, want %v", n, got, err, ok)
			}
			first, last, count, _, err := l.s.Span(ctx, id)
			if (err == nil) != (len(m.held) > 0) {
				fatal(i, "span: %v", err)
			}
			if h := m.held; err == nil && (bare(first) != h[0] || bare(last) != h[len(h)-1] || count != h[len(h)-1].Position-h[0].Position+1) {
				fatal(i, "span: %+v %+v %d", first, last, count)
			}
		case op < 93:
			counts["trim"]++
			before := m.server - r.Int64N(100_000)
			if r.IntN(20) == 0 {
				before = m.server + 10_000
			}
			if err := l.s.Trim(ctx, id, time.UnixMilli(before)); err != nil {
				fatal(i, "trim: %v", err)
			}
			m.trimmed(t, l.s, id, before)
		case op < 95:
			counts["drop"]++
			if err := l.s.Drop(ctx, id); err != nil {
				fatal(i, "drop: %v", err)
			}
			if _, err := l.s.After(ctx, id, sluice.FragmentNumber{}, time.Time{}); !errors.Is(err, store.ErrNone) {
				fatal(i, "a dropped stream: %v", err)
			}
			delete(models, id)
			ids = slices.DeleteFunc(ids, func(other sluice.StreamID) bool { return other == id })
		default:
			switch r.IntN(3) {
			case 0:
				counts["restart"]++
				l.close()
				if err := l.open(); err != nil {
					fatal(i, "restart: %v", err)
				}
			case 1:
				counts["power cut"]++
				next := l.fs.PowerCut(r.Uint64())
				l.close()
				l.fs = next
				if err := l.open(); err != nil {
					fatal(i, "power cut: %v", err)
				}
			default:
				counts["take"]++
			}
			for id, m := range models {
				e, last, err := l.s.Take(ctx, id)
				if err != nil || e <= m.epoch || last.Next != m.next || len(m.held) > 0 && bare(last.Entry) != m.held[len(m.held)-1] {
					fatal(i, "take: %d %+v %v, want next %d", e, last, err, m.next)
				}
				m.epoch, m.counter = e, 0
			}
			if err := l.s.CheckpointNow(ctx); err != nil {
				fatal(i, "checkpoint: %v", err)
			}
		}
	}
	t.Logf("%v, %d streams", counts, made)
}

// trimmed takes out of the model what a trim has removed: nothing inside the
// horizon, and not less than all files before it.
func (m *model) trimmed(t *testing.T, s *store.Store, id sluice.StreamID, before int64) {
	t.Helper()
	there := map[sluice.FragmentNumber]bool{}
	for e, err := range s.List(context.Background(), id, store.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		there[e.Number] = true
	}
	inside := 0
	m.held = slices.DeleteFunc(m.held, func(e store.Entry) bool {
		if e.ServerMs >= before {
			inside++
		}
		if there[e.Number] {
			return false
		}
		if e.ServerMs >= before {
			t.Fatalf("trim to %d removed %+v", before, e)
		}
		delete(m.body, e.Number)
		return true
	})
	if inside == 0 && len(m.held) > 0 {
		t.Fatalf("trim to %d left %d, the first %+v", before, len(m.held), m.held[0])
	}
}
