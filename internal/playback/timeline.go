package playback

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/store"
)

// item is a fragment in a playlist.
type item struct {
	store.Entry
	start    time.Time // by the session's clock
	duration time.Duration
	shape    *shape
	// header says which initialization segment: 0 is that of the session's first
	// fragment, else the sequence of the first fragment with these headers.
	header sluice.Sequence
	// discontinuity: it does not continue the item before it.
	discontinuity bool
	sequence      uint64 // media sequence number
	// joined is where it begins in a listing that has no overlaps and no gaps of a
	// rounding: where the item before it ends, when that is later or about the same.
	joined time.Time
}

// begins is when the item's pictures begin, which is what players join.
func (it *item) begins() time.Time { return it.start.Add(it.shape.offset) }

// ends is when they end.
func (it *item) ends() time.Time { return it.begins().Add(it.duration) }

// view is what a playlist lists now.
type view struct {
	items           []item
	discontinuities uint64 // before the first item's own
	target          time.Duration
	ended           bool
	sequence        uint64 // of the first item, or of the one that would come first

	past []former // live: what left the window lately
	any  bool     // live: something was ever listed: last, which ended at end
	last item
	end  time.Time
}

// discontinuityGap is from where on a gap or overlap is one (DiscontinuityMode,
// API reference).
const discontinuityGap = 50 * time.Millisecond

// timeline is how far a session has come. It is made of nothing but the token
// and the index, so when it is forgotten it is made again.
//
// Fragments are looked at in order, once: those that are older than the newest
// are passed over for good, as the API says of LIVE, and the rest get their
// sequence numbers, which therefore never change.
type timeline struct {
	mu              sync.Mutex
	seen            sluice.FragmentNumber // the last entry looked at
	seenTime        time.Time             // its start, LIVE_REPLAY
	any             bool                  // an item has been listed
	next            uint64                // sequence of the next item
	end             time.Time             // of the last item
	last            item
	items           []item
	past            []former // that left the window lately; a player may be on its way to them
	discontinuities uint64
	target          time.Duration
	ended           bool
}

// former is an item that has left the window.
type former struct {
	sequence uint64
	number   sluice.FragmentNumber
}

// pastKept is how many items are remembered behind the window: a player on a
// busy machine may come back to its list after a minute.
const pastKept = 64

// timelineKey: sessions that differ in nothing that matters share a timeline.
type timelineKey struct {
	stream        sluice.StreamID
	mode          Mode
	clock         sluice.Clock
	discontinuity Discontinuity
	first         sluice.Sequence
	position      uint64
	max           int
	from, to      int64
	created, lead int64 // LIVE_REPLAY
	print         uint64
	frame         time.Duration
}

const (
	// maxTimelines bounds the sessions that are remembered, and maxItems the items
	// that their playlists may have, at about 200 bytes.
	maxTimelines = 10_000
	maxItems     = 1_000_000
)

func (p *Playback) timelineOf(s *Session) *timeline {
	k := timelineKey{stream: s.Stream, mode: s.Mode, clock: s.Clock, discontinuity: s.Discontinuity, first: s.First, position: s.Position,
		max: s.Max, from: unixMs(s.From), to: unixMs(s.To), print: s.Print, frame: s.Frame}
	if s.Mode == LiveReplay {
		k.created, k.lead = unixMs(s.Created), int64(s.Lead)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.timelines[k]
	if t == nil {
		t = &timeline{target: s.Target}
		p.timelines[k] = t
		p.used = append(p.used, k)
		p.items += k.max
		for len(p.used) > 1 && (len(p.used) > maxTimelines || p.items > maxItems) {
			delete(p.timelines, p.used[0])
			p.items -= p.used[0].max
			p.used = p.used[1:]
		}
	}
	return t
}

// view gives what the session's playlists list now; what the index said up to
// age ago is new enough.
func (p *Playback) view(ctx context.Context, s *Session, retention, age time.Duration) (*view, error) {
	if s.Mode == OnDemand {
		return p.onDemand(ctx, s)
	}
	t := p.timelineOf(s)
	t.mu.Lock()
	defer t.mu.Unlock()
	var err error
	if s.Mode == Live {
		err = p.advanceLive(ctx, s, t, age)
	} else {
		err = p.advanceReplay(ctx, s, t)
	}
	if err != nil {
		return nil, err
	}
	t.trim(s.Max, p.o.Now().Add(-retention))
	v := &view{items: slices.Clone(t.items), discontinuities: t.discontinuities, target: t.target, ended: t.ended, sequence: t.next - uint64(len(t.items)), last: t.last, end: t.end, any: t.any, past: slices.Clone(t.past)}
	return v, nil
}

// trim leaves the newest max items, and none that has expired.
func (t *timeline) trim(most int, horizon time.Time) {
	n := max(0, len(t.items)-most)
	for n < len(t.items) && t.items[n].Server().Before(horizon) {
		n++
	}
	for _, it := range t.items[:n] {
		if it.discontinuity {
			t.discontinuities++
		}
		t.past = append(t.past, former{it.sequence, it.Number})
	}
	t.past = slices.Delete(t.past, 0, max(0, len(t.past)-pastKept))
	t.items = slices.Delete(t.items, 0, n)
}

func startOf(e *store.Entry, c sluice.Clock) time.Time {
	if c == sluice.ProducerClock {
		return e.Producer()
	}
	return e.Server()
}

func (p *Playback) advanceLive(ctx context.Context, s *Session, t *timeline, age time.Duration) error {
	if t.seen.IsZero() {
		t.seen = before(s.First)
		if s.Clock == sluice.ServerClock && s.Discontinuity != OnDiscontinuity {
			// Nothing is ever passed over and every item counts the same, so what
			// lies before the window need not be looked at.
			list, err := p.newest(ctx, s.Stream, s.First, s.Max)
			if err != nil {
				return err
			}
			if len(list) > 0 {
				t.seen = before(list[0].Number.Sequence())
			}
		}
	}
	list, err := p.following(ctx, s.Stream, t.seen, age)
	if err != nil {
		return err
	}
	for i := range list {
		e := &list[i]
		start := startOf(e, s.Clock)
		// "Not added if they are older than the newest."
		if older := t.any && (start.Before(t.last.start) || s.Clock == sluice.ProducerClock && start.Equal(t.last.start)); !older {
			if err := p.add(ctx, s, t, e, start); err != nil {
				return err // and the next request looks at it again: whoever asked may just have left
			}
		}
		t.seen = e.Number
	}
	return nil
}

// before is the position just below every number of a sequence.
func before(n sluice.Sequence) sluice.FragmentNumber {
	if n == 0 {
		return sluice.FragmentNumber{}
	}
	return sluice.MakeFragmentNumber(n-1, 1<<64-1, 1<<28-1)
}

// advanceReplay lists what would have been there had the stream begun to be
// played when the session began: fragments appear as fast as time goes.
func (p *Playback) advanceReplay(ctx context.Context, s *Session, t *timeline) error {
	until := s.From.Add(p.o.Now().Sub(s.Created) + s.Lead)
	over := !s.To.IsZero() && until.After(s.To)
	if over {
		until = s.To
	}
	q := store.Query{Clock: s.Clock, From: s.From, To: until, After: t.seen, AfterTime: t.seenTime}
	if s.Overlap {
		q.Mode = store.Overlap
	}
	var held *store.Entry // not yet known whether one of the same time follows
	flush := func() error {
		if held == nil {
			return nil
		}
		e, start := held, startOf(held, s.Clock)
		held = nil
		if err := p.add(ctx, s, t, e, start); err != nil {
			return err
		}
		t.seen, t.seenTime = e.Number, start
		return nil
	}
	for e, err := range p.o.Source.List(ctx, s.Stream, q) {
		if err != nil {
			return err
		}
		start := startOf(&e, s.Clock)
		if t.any && s.Clock == sluice.ProducerClock && start.Equal(t.last.start) {
			continue
		}
		if held != nil && (s.Clock == sluice.ServerClock || !start.Equal(startOf(held, s.Clock))) {
			if err := flush(); err != nil {
				return err
			}
		}
		held = &e
	}
	if err := flush(); err != nil {
		return err
	}
	t.ended = over
	return nil
}

// add lists an entry behind the others.
func (p *Playback) add(ctx context.Context, s *Session, t *timeline, e *store.Entry, start time.Time) error {
	sh, err := p.shape(ctx, s.Stream, e.Number)
	if errors.Is(err, ErrGone) {
		return nil // expired between the index and here
	}
	if err != nil {
		return err
	}
	it := item{Entry: *e, start: start, shape: sh, duration: durationOf(s, e, sh)}
	if !t.any {
		t.next = e.Position - min(s.Position, e.Position)
		if s.Discontinuity == Always {
			t.discontinuities = t.next
		}
	}
	it.sequence = t.next
	it.mark(s, t.any, &t.last, t.end)
	t.next++
	t.any, t.last, t.end = true, it, it.ends()
	t.target = max(t.target, it.duration)
	t.items = append(t.items, it)
	return nil
}

func durationOf(s *Session, e *store.Entry, sh *shape) time.Duration {
	d := sh.duration
	if sh.frames < 2 && sh.frame == 0 {
		d = s.Frame
	}
	return max(d, time.Millisecond)
}

// mark decides whether the item begins anew, and which headers it has.
func (it *item) mark(s *Session, follows bool, last *item, end time.Time) {
	changed := follows && last.shape.print != it.shape.print
	switch {
	case changed:
		it.header = it.Number.Sequence()
	case follows:
		it.header = last.header
	case it.shape.print != s.Print:
		it.header = it.Number.Sequence()
	}
	gap := it.begins().Sub(end)
	joins := follows && gap <= discontinuityGap && gap >= -discontinuityGap
	if it.joined = it.begins(); joins || follows && gap < 0 {
		it.joined = end
	}
	switch s.Discontinuity {
	case Always:
		it.discontinuity = true
	case OnDiscontinuity:
		it.discontinuity = follows && !joins
	}
	it.discontinuity = it.discontinuity || changed
}

// onDemand lists the session's range: the oldest fragments up to the maximum.
func (p *Playback) onDemand(ctx context.Context, s *Session) (*view, error) {
	list, err := p.selectRange(ctx, s.Stream, s.Clock, s.From, s.To, s.Overlap, s.Max)
	if err != nil {
		return nil, err
	}
	v := &view{items: make([]item, len(list)), target: s.Target, ended: true}
	for i := range list {
		v.items[i] = item{Entry: list[i], start: startOf(&list[i], s.Clock)}
	}
	if err := p.shapes(ctx, s, v); err != nil {
		return nil, err
	}
	var end time.Time
	for i := range v.items {
		it := &v.items[i]
		it.duration = durationOf(s, &it.Entry, it.shape)
		if i+1 < len(v.items) {
			// Where the next one follows on, until its start: a fragment's own length
			// is that of sound and pictures together, and players add durations up.
			next := v.items[i+1].begins().Sub(it.begins())
			if gap := next - it.duration; gap <= discontinuityGap && gap >= -discontinuityGap {
				it.duration = max(next, time.Millisecond)
			}
		}
		it.sequence = uint64(i)
		if i == 0 {
			it.mark(s, false, nil, end)
		} else {
			it.mark(s, true, &v.items[i-1], end)
		}
		end = it.ends()
		v.target = max(v.target, it.duration)
	}
	return v, nil
}

// collectionLag is how much later than the fragment before it a fragment may
// have been ingested, beyond what lies between them by the producer's clock, to
// be of the same collection although others were ingested in between.
const collectionLag = 5 * time.Minute

// selectRange gives the fragments of a time range in the order of their starts,
// at most n.
//
// By the producer's clock these are the oldest ingested collection of fragments
// in the range (HLSFragmentSelector, guide): when another was ingested into the
// same range at a very different time, it is left out; of those with equal
// starts the newer one stays.
func (p *Playback) selectRange(ctx context.Context, id sluice.StreamID, clock sluice.Clock, from, to time.Time, overlap bool, n int) ([]store.Entry, error) {
	q := store.Query{Clock: clock, From: from, To: to}
	if overlap {
		q.Mode = store.Overlap
	}
	if clock == sluice.ServerClock {
		q.Limit = n
	}
	var list []store.Entry
	for e, err := range p.o.Source.List(ctx, id, q) {
		if err != nil {
			return nil, err
		}
		list = append(list, e)
		if len(list) > maxRange {
			break
		}
	}
	if clock == sluice.ServerClock {
		return list, nil
	}
	slices.SortFunc(list, func(a, b store.Entry) int { return a.Number.Compare(b.Number) })
	for i := 1; i < len(list); i++ {
		a, b := &list[i-1], &list[i]
		lag := b.Server().Sub(a.Server()) - b.Producer().Sub(a.Producer())
		if b.Position != a.Position+1 && lag > collectionLag {
			list = list[:i]
			break
		}
	}
	slices.SortStableFunc(list, func(a, b store.Entry) int { return a.Producer().Compare(b.Producer()) })
	out := list[:0]
	for i := range list {
		if i+1 < len(list) && list[i].ProducerMs == list[i+1].ProducerMs {
			continue
		}
		out = append(out, list[i])
	}
	return out[:min(n, len(out))], nil
}

// maxRange bounds what is looked at for one range: a day of fragments of a fifth
// of a second.
const maxRange = 432_000

// shapeSamples is how many fragments of a run are read at least, where there are
// as many, to see whether headers changed in it.
const shapeSamples = 64

// shapes fills in the shapes of items without reading every fragment of a long
// list: a run of fragments that join and have the same header is read in samples.
// Rows from before the index knew headers are read closer between two samples that
// differ, as a change shows as a gap or an overlap as a rule.
func (p *Playback) shapes(ctx context.Context, s *Session, v *view) error {
	pad := s.Frame // what a fragment lasts beyond its length
	for from := 0; from < len(v.items); {
		if err := p.shapeItem(ctx, s, &v.items[from]); err != nil {
			return err
		}
		if sh := v.items[from].shape; sh != nil {
			pad = sh.duration - v.items[from].Length()
		}
		to := from + 1
		for to < len(v.items) && joins(&v.items[to-1], &v.items[to], pad) {
			to++
		}
		run := v.items[from:to]
		step := len(run)/shapeSamples + 1
		for i := 0; i < len(run)-1; i += step {
			if err := p.shapeBetween(ctx, s, run[i:min(i+step, len(run)-1)+1]); err != nil {
				return err
			}
		}
		from = to
	}
	v.items = slices.DeleteFunc(v.items, func(it item) bool { return it.shape == nil })
	return nil
}

func joins(a, b *item, pad time.Duration) bool {
	gap := b.start.Sub(a.start) - a.Length() - pad
	return a.Tracks == b.Tracks && a.Header == b.Header && gap <= discontinuityGap && gap >= -discontinuityGap
}

// shapeItem reads a fragment's shape; one that is gone is left without.
func (p *Playback) shapeItem(ctx context.Context, s *Session, it *item) error {
	if it.shape != nil {
		return nil
	}
	sh, err := p.shape(ctx, s.Stream, it.Number)
	if err != nil && !errors.Is(err, ErrGone) {
		return err
	}
	if err == nil {
		it.shape = sh
	}
	return nil
}

// shapeBetween reads the ends of a run, and what lies between them only when they
// differ.
func (p *Playback) shapeBetween(ctx context.Context, s *Session, run []item) error {
	if err := errors.Join(p.shapeItem(ctx, s, &run[0]), p.shapeItem(ctx, s, &run[len(run)-1])); err != nil {
		return err
	}
	first, last := run[0].shape, run[len(run)-1].shape
	if len(run) <= 2 {
		return nil
	}
	if first == nil || last == nil || first.print != last.print {
		half := len(run) / 2
		if err := p.shapeBetween(ctx, s, run[:half+1]); err != nil {
			return err
		}
		return p.shapeBetween(ctx, s, run[half:])
	}
	pad := first.duration - run[0].Length()
	for i := range run[1 : len(run)-1] {
		it := &run[1+i]
		if it.shape == nil {
			sh := *first
			sh.duration = it.Length() + pad
			if it.LengthMs == 0 {
				sh.frames = 1
			}
			it.shape = &sh
		}
	}
	return nil
}
