package playback

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/codec"
	"github.com/sluicevideo/sluice/internal/mux"
	"github.com/sluicevideo/sluice/internal/mux/fmp4"
	"github.com/sluicevideo/sluice/internal/playback/hls"
)

// edge is the live end of one stream for low latency: the fragments that are open
// or were lately, with their frames as they arrive. It runs while somebody asks
// for it, one for all viewers of the stream.
type edge struct {
	mu        sync.Mutex
	fragments []*edgeFragment // in number order, the newest few
	changed   chan struct{}   // closed and replaced at each change
	asked     time.Time
	// caught: what had arrived before the edge began is in it.
	caught bool
}

type edgeFragment struct {
	head    *Fragment
	frames  []LiveFrame
	done    bool // complete
	aborted bool
}

const (
	// edgeKeep is how many fragments keep their parts: those that a player near
	// the live end may still ask for.
	edgeKeep = 6
	// partsOf is how many whole segments are listed with their parts. Players that
	// see parts of the open fragment alone take them for too near the end, and
	// wait until it is whole.
	partsOf = 3
	// edgeIdle: an edge that nobody asked for in this time ends.
	edgeIdle = 30 * time.Second
	// edgeStart is how long a player's first request waits for an edge to catch up:
	// a playlist without the open fragment would have it begin a fragment too far
	// back, and wait for a whole one.
	edgeStart = 500 * time.Millisecond
	// durablePoll is how often the index is looked at while a complete fragment
	// is about to become durable.
	durablePoll = 10 * time.Millisecond
)

// edgeOf gives the stream's edge, started when it does not run. after is the
// newest fragment that the caller knows to be durable.
func (p *Playback) edgeOf(id sluice.StreamID, after sluice.FragmentNumber) *edge {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.edges[id]
	if e != nil {
		e.touch(p.o.Now())
		return e
	}
	e = &edge{changed: make(chan struct{}), asked: p.o.Now()}
	p.edges[id] = e
	p.wg.Go(func() { p.follow(e, id, after) })
	return e
}

func (e *edge) touch(now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.asked = now
}

// follow fills the edge until nobody asks for it any more.
func (p *Playback) follow(e *edge, id sluice.StreamID, after sluice.FragmentNumber) {
	ctx, cancel := context.WithCancel(p.ctx)
	defer cancel()
	p.wg.Go(func() { p.watchIdle(ctx, cancel, e) })
	for f, err := range p.o.Source.Follow(ctx, id, after) {
		if err != nil {
			if ctx.Err() == nil {
				p.o.Logger.Debug("low-latency playback stops following", "stream", id, "error", err)
				pause(ctx) // viewers who wait begin it anew
			}
			break
		}
		e.take(ctx, f)
	}
	cancel()
	p.mu.Lock()
	if p.edges[id] == e {
		delete(p.edges, id)
	}
	p.mu.Unlock()
	e.update(func() {})
}

// watchIdle ends an edge that nobody asks for any more.
func (p *Playback) watchIdle(ctx context.Context, cancel context.CancelFunc, e *edge) {
	tick := time.NewTicker(edgeIdle / 3)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			e.mu.Lock()
			old := p.o.Now().Sub(e.asked) > edgeIdle
			e.mu.Unlock()
			if old {
				cancel()
			}
		}
	}
}

func pause(ctx context.Context) {
	t := time.NewTimer(200 * time.Millisecond)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// take reads a fragment to its end.
func (e *edge) take(ctx context.Context, a Arriving) {
	f := &edgeFragment{head: a.Head()}
	e.update(func() {
		e.fragments = append(e.fragments, f)
		if len(e.fragments) > edgeKeep {
			e.fragments = append([]*edgeFragment(nil), e.fragments[1:]...)
		}
	})
	for {
		frames, err := a.Next(ctx)
		caught := err == nil && !a.Behind()
		e.update(func() {
			e.caught = e.caught || caught
			f.frames = append(f.frames, frames...)
			switch {
			case errors.Is(err, io.EOF):
				f.done = true
			case err != nil:
				f.aborted = true
			}
		})
		if err != nil {
			return
		}
	}
}

func (e *edge) update(change func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	change()
	close(e.changed)
	e.changed = make(chan struct{})
}

// snapshot is the edge as it is now, and what closes when that changes. Frames
// are only ever appended, so the copies may be read.
func (e *edge) snapshot() (list []edgeFragment, caught bool, changed <-chan struct{}) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, f := range e.fragments {
		list = append(list, *f)
	}
	return list, e.caught, e.changed
}

// shape is what is known of the fragment's shape so far.
func (f *edgeFragment) shape() *shape {
	head := *f.head
	for i := range f.frames {
		head.Index = append(head.Index, f.frames[i].Entry)
	}
	return shapeOf(&head)
}

// samples are the frames of a track so far.
func (f *edgeFragment) samples(t *track, clock sluice.Clock) []mux.Sample {
	base := time.Duration(f.head.start(clock).UnixNano()) - f.head.Timecode
	var out []mux.Sample
	for i := range f.frames {
		if fr := &f.frames[i]; fr.Track == t.number {
			out = append(out, mux.Sample{Data: fr.Data, PTS: base + fr.Timecode, Duration: fr.Duration, Key: fr.Key || t.params.Kind.Audio()})
		}
	}
	return out
}

// part is a partial segment: samples from from up to to.
type part struct {
	from, to int
	duration time.Duration
}

// partTarget is PART-TARGET of a track's playlist: whole frames, as near to the
// wish as they come, and a millisecond or two for what rounding does to them.
func (p *Playback) partTarget(frame time.Duration) time.Duration {
	n := max(1, (p.o.PartTarget+frame/4)/frame)
	return (n*frame + 2*time.Millisecond).Truncate(time.Millisecond)
}

// frameOf is how long a frame of the track lasts.
func (s *Session) frameOf(t *track) time.Duration {
	switch {
	case t.params.Kind == codec.AAC:
		return 1024 * time.Second / time.Duration(t.params.SampleRate)
	case t.params.Kind.Audio() && t.frame > 0:
		return t.frame
	case t.params.Kind.Audio():
		return 20 * time.Millisecond // G.711 and Opus packets, as a rule
	}
	return s.Frame
}

// cut divides a track's samples into parts and gives them decoding times. What it
// says of a part depends on nothing behind it, so a part never changes: each
// frame but a part's last lasts until the next, and the last as long as frames do
// on average.
//
// A part is complete when one more frame would make it longer than target, or
// when the next frame is too far off to belong to it; the rest is complete only
// when done.
func cut(list []mux.Sample, t *track, frame, target time.Duration, done bool) []part {
	frame = min(frame, target)
	reordered := t.params.Reorder > 0
	for i := 1; i < len(list) && t.params.Reorder < 0; i++ {
		reordered = reordered || list[i].PTS < list[i-1].PTS
	}
	for i := range list {
		list[i].DTS = list[i].PTS
		if reordered {
			// The pictures that will be shown between these two are not there yet:
			// count instead of sorting.
			list[i].DTS = list[0].PTS + time.Duration(i)*frame
		}
	}
	var out []part
	from := 0
	end := func(to int) {
		for i := from; i < to-1; i++ {
			list[i].Duration = max(list[i+1].DTS-list[i].DTS, 0)
		}
		list[to-1].Duration = frame
		out = append(out, part{from, to, list[to-1].DTS - list[from].DTS + frame})
		from = to
	}
	for i := range list {
		if i > from && list[i].DTS-list[from].DTS+frame > target {
			end(i)
		}
		if list[i].DTS-list[from].DTS+2*frame > target {
			end(i + 1)
		}
	}
	if done && from < len(list) {
		end(len(list))
	}
	return out
}

// lowMedia is the media playlist of a low-latency session: blocking reload
// (_HLS_msn, _HLS_part), parts of the newest fragments and of the open one.
func (v *Viewer) lowMedia(ctx context.Context, number uint32) ([]byte, error) {
	msn, part := int64(-1), int64(-1)
	if v.query.Has("_HLS_msn") {
		n, err := v.number("_HLS_msn", 0, 1<<62)
		if err != nil {
			return nil, err
		}
		msn = int64(n)
	}
	if v.query.Has("_HLS_part") {
		n, err := v.number("_HLS_part", 0, 1<<20)
		if err != nil {
			return nil, err
		}
		if msn < 0 {
			return nil, invalid("_HLS_part: must not be given without _HLS_msn")
		}
		part = int64(n)
	}
	if err := v.listed(v.Session.Max, "GetHLSMediaPlaylist"); err != nil {
		return nil, err
	}
	var deadline <-chan time.Time
	for {
		l, err := v.lowPlaylist(ctx, number)
		if err != nil {
			return nil, err
		}
		if msn < 0 && l.caught || msn >= 0 && l.has(msn, part) {
			return l.media.Append(make([]byte, 0, 4096)), nil
		}
		if msn > l.last()+2 {
			return nil, invalid(fmt.Sprintf("_HLS_msn: is %d, must be at most %d", msn, l.last()+2))
		}
		if deadline == nil {
			most := edgeStart
			if msn >= 0 {
				most = 3 * time.Duration(hls.TargetSeconds(l.media.Target)) * time.Second
			}
			t := time.NewTimer(most)
			defer t.Stop()
			deadline = t.C
		}
		var poll <-chan time.Time
		var again *time.Timer
		if l.waiting {
			again = time.NewTimer(durablePoll)
			poll = again.C
		}
		select {
		case <-l.changed:
		case <-poll:
		case <-deadline:
			// Nothing new came. A player that gets the playlist as it is asks
			// again; an error would count against the stream.
			return l.media.Append(nil), nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if again != nil {
			again.Stop()
		}
	}
}

// lowList is a playlist on its way to a low-latency player.
type lowList struct {
	media   *hls.Media
	open    int             // parts of the open fragment; -1: there is none
	waiting bool            // a complete fragment is not durable yet
	caught  bool            // as the edge's
	changed <-chan struct{} // closed when there is more
}

// last is the sequence number of the last segment or open fragment.
func (l *lowList) last() int64 { return int64(l.media.Sequence) + int64(len(l.media.Segments)) - 1 }

// has reports whether the playlist holds part of segment msn, or all of it when
// part is negative.
func (l *lowList) has(msn, part int64) bool {
	last := l.last()
	if l.open < 0 {
		return msn <= last
	}
	return msn < last || msn == last && part >= 0 && int64(l.open) > part
}

// edge is after which fragment the list's live end begins.
func (l *view) edge(s *Session) sluice.FragmentNumber {
	if len(l.items) == 0 {
		if l.any {
			return l.last.Number
		}
		return before(s.First)
	}
	return before(l.items[max(0, len(l.items)-partsOf)].Number.Sequence())
}

func (v *Viewer) lowPlaylist(ctx context.Context, number uint32) (*lowList, error) {
	s, p := v.Session, v.p
	list, err := p.view(ctx, s, v.Stream.Retention, durablePoll)
	if err != nil {
		return nil, err
	}
	after := before(s.First)
	if list.any {
		after = list.last.Number
	}
	e := p.edgeOf(s.Stream, list.edge(s))
	fragments, caught, changed := e.snapshot()
	l := &lowList{media: v.playlist(list, number), open: -1, caught: caught, changed: changed}
	m := l.media
	m.PartTarget = p.partTarget(s.Frame)
	for i := max(0, len(list.items)-partsOf); i < len(list.items); i++ {
		for j := range fragments {
			if f := &fragments[j]; f.head.Number == list.items[i].Number && f.done {
				m.Segments[i].Parts, _ = v.parts(f, number, m)
			}
		}
	}
	for i := range fragments {
		f := &fragments[i]
		if f.aborted || f.head.Number.Compare(after) <= 0 {
			continue
		}
		start := f.head.start(s.Clock)
		if list.any && (start.Before(list.last.start) || s.Clock == sluice.ProducerClock && start.Equal(list.last.start)) {
			continue
		}
		it := item{start: start, shape: f.shape()}
		it.Number = f.head.Number
		it.mark(s, list.any, &list.last, list.end)
		seg := v.segment(&it, number)
		seg.Open = true
		var hint string
		seg.Parts, hint = v.parts(f, number, m)
		l.open, l.waiting = len(seg.Parts), f.done
		if !f.done {
			m.PreloadHint = hint
		}
		m.Segments = append(m.Segments, seg)
		break // what follows waits until this one is durable
	}
	return l, nil
}

// parts lists the parts of a fragment, and where the next one will be. It tells m
// the track's part target.
func (v *Viewer) parts(f *edgeFragment, number uint32, m *hls.Media) (out []hls.Part, next string) {
	sel, err := choose(f.head.Tracks, v.Session.demands("GetHLSMediaPlaylist"))
	if err != nil {
		return nil, ""
	}
	t := sel.find(number)
	if t == nil {
		return nil, ""
	}
	list := f.samples(t, v.Session.Clock)
	uri := func(i int) string {
		return v.uri(PartFragment, "FragmentNumber="+f.head.Number.String()+"&Part="+strconv.Itoa(i)+"&", "&TrackNumber="+strconv.FormatUint(uint64(number), 10))
	}
	frame := v.Session.frameOf(t)
	m.PartTarget = v.p.partTarget(frame)
	for i, c := range cut(list, t, frame, m.PartTarget, f.done) {
		out = append(out, hls.Part{URI: uri(i), Duration: c.duration, Independent: list[c.from].Key})
	}
	return out, uri(len(out))
}

// Part answers getMP4Part: a partial segment. One that is not there yet is waited
// for, as a player may ask for what the playlist hints at. A fragment from before
// the session is denied; any other number may be that of a fragment whose
// producer broke off, so there the answer is that there is no such part.
func (v *Viewer) Part(ctx context.Context) (*Body, error) {
	s, p := v.Session, v.p
	number, err := v.number("TrackNumber", 1, 1<<31)
	if err != nil {
		return nil, err
	}
	n, err := v.fragmentNumber(ctx)
	if err != nil {
		return nil, err
	}
	index, err := v.number("Part", 0, 1<<20)
	if err != nil {
		return nil, err
	}
	if s.Mode != Live || s.Container != FragmentedMP4 {
		return nil, notFound("GetMP4Part: the session's playlists have no parts")
	}
	if n.Sequence() < s.First {
		return nil, denied("FragmentNumber: is not in the session")
	}
	wait := time.NewTimer(3 * time.Duration(hls.TargetSeconds(s.Target)) * time.Second)
	defer wait.Stop()
	gone := notFound("Part: there is no such part, or no longer")
	for {
		fragments, _, changed := p.edgeOf(s.Stream, before(n.Sequence())).snapshot()
		var f *edgeFragment
		newer := false
		for i := range fragments {
			if fragments[i].head.Number == n {
				f = &fragments[i]
			}
			newer = newer || fragments[i].head.Number.Compare(n) > 0
		}
		if f == nil && newer {
			return nil, gone
		}
		if f != nil {
			body, err := v.partOf(f, uint32(number), int(index))
			if body != nil || err != nil {
				return body, err
			}
			if f.done || f.aborted {
				return nil, gone
			}
		}
		select {
		case <-changed:
		case <-wait.C:
			return nil, gone
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// partOf packages a part; nil when it is not complete yet.
func (v *Viewer) partOf(f *edgeFragment, number uint32, index int) (*Body, error) {
	s := v.Session
	sel, err := choose(f.head.Tracks, s.demands("GetMP4Part"))
	if err != nil {
		return nil, err
	}
	t := sel.find(number)
	if t == nil {
		return nil, notFound(fmt.Sprintf("TrackNumber %d: the fragment has no such track", number))
	}
	list := f.samples(t, s.Clock)
	frame := s.frameOf(t)
	parts := cut(list, t, frame, v.p.partTarget(frame), f.done)
	if index >= len(parts) {
		return nil, nil
	}
	c := parts[index]
	out, err := fmp4.AppendFragment(nil, uint32(f.head.Number.Sequence()), fmp4.Run{
		Track: fmp4.Track{ID: t.number, Params: t.params, Timescale: fmp4.TimescaleOf(t.params)}, Samples: list[c.from:c.to],
	})
	if err != nil {
		return nil, badFrame(f.head, err)
	}
	kind := "video/mp4"
	if t.params.Kind.Audio() {
		kind = "audio/mp4"
	}
	seg := &segment{pieces: out, size: fmp4.Length(out)}
	return seg.body(kind, fmt.Sprintf(`"%x-%d-%d-p%d-%d"`, uint64(f.head.Number.Sequence()), number, s.Clock, index, s.Frame)), nil
}
