package playback_test

import (
	"cmp"
	"context"
	"fmt"
	"hash/fnv"
	"io"
	"iter"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/fragment"
	"github.com/sluicevideo/sluice/internal/catalog"
	"github.com/sluicevideo/sluice/internal/limits"
	"github.com/sluicevideo/sluice/internal/mux/muxtest"
	"github.com/sluicevideo/sluice/internal/playback"
	"github.com/sluicevideo/sluice/internal/store"
)

// memory is one stream in memory, with a clock that the test turns.
type memory struct {
	mu        sync.Mutex
	about     catalog.Stream
	deleted   bool
	clock     time.Time
	flows     time.Time // not zero: the clock goes on from then
	entries   []store.Entry
	fragments map[sluice.FragmentNumber]*playback.Fragment
	arrivals  []*arrival
	changed   chan struct{}
	reads     int   // fragments read with their media
	broken    error // what reading a fragment fails with
}

// clip is the demo recording: eight fragments of 1.28 s, H.264 and AAC.
type clip struct {
	header    *fragment.Header
	fragments []muxtest.Fragment
}

func loadClip(t testing.TB) clip {
	t.Helper()
	h, f := muxtest.Read(t, "../demo/clip.mkv")
	return clip{h, f}
}

var start = time.Date(2026, 5, 17, 13, 48, 35, 994e6, time.UTC)

const streamID = "0123456789abcdef0123456789abcdef"

func newMemory() *memory {
	return &memory{
		clock: start, fragments: map[sluice.FragmentNumber]*playback.Fragment{}, changed: make(chan struct{}),
		about: catalog.Stream{ID: streamID, Name: "cam", Status: catalog.Active, Retention: 24 * time.Hour, ARN: sluice.ARN{Partition: "aws", Region: "us-west-2", Account: "000000000000", Name: "cam", Created: 1}},
	}
}

func (m *memory) Now() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.flows.IsZero() {
		return m.clock.Add(time.Since(m.flows))
	}
	return m.clock
}

func (m *memory) pass(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.clock = m.clock.Add(d)
}

// add makes a fragment durable.
func (m *memory) add(f *muxtest.Fragment, tracks []sluice.Track, server, producer time.Time) sluice.FragmentNumber {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := sluice.MakeFragmentNumber(sluice.Sequence(1000+len(m.entries)), uint64(server.UnixMilli()), 7)
	m.addLocked(f, tracks, n, producer)
	return n
}

func (m *memory) addLocked(f *muxtest.Fragment, tracks []sluice.Track, n sluice.FragmentNumber, producer time.Time) {
	mask := uint32(0)
	for _, t := range tracks {
		mask |= 1 << (t.Number - 1)
	}
	first, last := f.Frames[0].Timecode, f.Frames[0].Timecode
	for _, e := range f.Frames {
		first, last = min(first, e.Timecode), max(last, e.Timecode)
	}
	position := uint64(100) // as if a hundred had expired
	if k := len(m.entries); k > 0 {
		position = m.entries[k-1].Position + 1
	}
	m.entries = append(m.entries, store.Entry{
		Meta:     store.Meta{Stream: streamID, Number: n, ProducerMs: producer.UnixMilli(), ServerMs: int64(n.ServerTimestamp()), LengthMs: uint32((last - first).Milliseconds()), Bytes: uint32(len(f.Bytes)), Tracks: mask, Header: headerSum(tracks)},
		Position: position,
	})
	m.fragments[n] = &playback.Fragment{Number: n, Producer: producer, Server: n.ServerTime(), Timecode: f.Timecode, Tracks: tracks, Index: f.Frames, Elements: f.Bytes}
	m.wakeLocked()
}

// headerSum tells headers apart, as the index does.
func headerSum(tracks []sluice.Track) uint32 {
	h := fnv.New32a()
	for _, t := range tracks {
		fmt.Fprintf(h, "%d %q %x ", t.Number, t.CodecID, t.CodecPrivate)
	}
	return max(h.Sum32(), 1)
}

func (m *memory) wakeLocked() {
	close(m.changed)
	m.changed = make(chan struct{})
}

func (m *memory) Stream(context.Context, sluice.StreamRef) (catalog.Stream, error) {
	return m.ByID(context.Background(), streamID)
}

func (m *memory) ByID(_ context.Context, id sluice.StreamID) (catalog.Stream, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.deleted || id != streamID {
		return catalog.Stream{}, &sluice.Error{Code: sluice.ResourceNotFound, Msg: "no such stream"}
	}
	return m.about, nil
}

func (m *memory) List(_ context.Context, _ sluice.StreamID, q store.Query) iter.Seq2[store.Entry, error] {
	m.mu.Lock()
	horizon := m.clock.Add(-m.about.Retention)
	all := slices.Clone(m.entries)
	m.mu.Unlock()
	at := func(e *store.Entry) time.Time {
		if q.Clock == sluice.ProducerClock {
			return e.Producer()
		}
		return e.Server()
	}
	if q.Order == store.ByTime {
		slices.SortStableFunc(all, func(a, b store.Entry) int { return cmp.Or(at(&a).Compare(at(&b)), a.Number.Compare(b.Number)) })
	}
	return func(yield func(store.Entry, error) bool) {
		n := 0
		for i := range all {
			e := &all[i]
			begin, end := at(e), at(e).Add(e.Length())
			switch {
			case e.Server().Before(horizon):
			case !q.From.IsZero() && q.Mode == store.Start && begin.Before(q.From):
			case !q.From.IsZero() && q.Mode == store.Overlap && end.Before(q.From):
			case !q.To.IsZero() && begin.After(q.To):
			case q.Order == store.ByNumber && e.Number.Compare(q.After) <= 0:
			case q.Order == store.ByTime && !q.After.IsZero() && cmp.Or(begin.Compare(q.AfterTime), e.Number.Compare(q.After)) <= 0:
			default:
				if n++; !yield(*e, nil) || n == q.Limit {
					return
				}
			}
		}
	}
}

func (m *memory) Fragment(_ context.Context, _ sluice.StreamID, n sluice.FragmentNumber, media bool) (*playback.Fragment, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.broken != nil {
		return nil, m.broken
	}
	f := m.fragments[n]
	if f == nil || f.Server.Before(m.clock.Add(-m.about.Retention)) {
		return nil, fmt.Errorf("fragment %s: %w", n, playback.ErrGone)
	}
	out := *f
	if !media {
		out.Elements = nil
	} else {
		m.reads++
	}
	return &out, nil
}

// arrival is a fragment that comes frame by frame.
type arrival struct {
	m      *memory
	head   playback.Fragment
	frames []playback.LiveFrame
	given  int
	err    error // io.EOF: complete
}

func (m *memory) begin(f *muxtest.Fragment, tracks []sluice.Track, server, producer time.Time) *arrival {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := sluice.MakeFragmentNumber(sluice.Sequence(1000+len(m.entries)), uint64(server.UnixMilli()), 7)
	for _, a := range m.arrivals {
		if a.head.Number.Sequence() >= n.Sequence() {
			n = sluice.MakeFragmentNumber(a.head.Number.Sequence()+1, uint64(server.UnixMilli()), 7)
		}
	}
	a := &arrival{m: m, head: playback.Fragment{Number: n, Producer: producer, Server: server, Timecode: f.Timecode, Tracks: tracks}}
	m.arrivals = append(m.arrivals, a)
	m.wakeLocked()
	return a
}

// grow lets n more frames of f arrive.
func (a *arrival) grow(f *muxtest.Fragment, n int) {
	a.m.mu.Lock()
	defer a.m.mu.Unlock()
	for range n {
		if k := len(a.frames); k < len(f.Frames) {
			e := f.Frames[k]
			a.frames = append(a.frames, playback.LiveFrame{Entry: e, Data: f.Bytes[e.Offset : e.Offset+e.Size]})
		}
	}
	a.m.wakeLocked()
}

// end decides it: complete and durable, or aborted.
func (a *arrival) end(f *muxtest.Fragment, err error) {
	a.m.mu.Lock()
	defer a.m.mu.Unlock()
	a.err = err
	if err == io.EOF {
		a.m.addLocked(f, a.head.Tracks, a.head.Number, a.head.Producer)
	}
	a.m.wakeLocked()
}

func (a *arrival) Head() *playback.Fragment { return &a.head }

func (a *arrival) Next(ctx context.Context) ([]playback.LiveFrame, error) {
	for {
		a.m.mu.Lock()
		fresh, err, changed := a.frames[a.given:], a.err, a.m.changed
		a.given = len(a.frames)
		a.m.mu.Unlock()
		switch {
		case len(fresh) > 0:
			return fresh, nil
		case err != nil:
			return nil, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (a *arrival) Behind() bool {
	a.m.mu.Lock()
	defer a.m.mu.Unlock()
	return a.given < len(a.frames) || a.err != nil
}

// stored is a durable fragment as one that has arrived.
func (m *memory) stored(f *playback.Fragment) *arrival {
	a := &arrival{m: m, head: *f, err: io.EOF}
	a.head.Index, a.head.Elements = nil, nil
	for _, e := range f.Index {
		a.frames = append(a.frames, playback.LiveFrame{Entry: e, Data: f.Elements[e.Offset : e.Offset+e.Size]})
	}
	return a
}

func (m *memory) Follow(ctx context.Context, _ sluice.StreamID, after sluice.FragmentNumber) iter.Seq2[playback.Arriving, error] {
	return func(yield func(playback.Arriving, error) bool) {
		for {
			m.mu.Lock()
			changed := m.changed
			var next *arrival
			for _, a := range m.arrivals {
				if next == nil && a.head.Number.Compare(after) > 0 {
					next = a
				}
			}
			for _, e := range m.entries { // durable ones are there at once
				if n := e.Number; n.Compare(after) > 0 && (next == nil || n.Compare(next.head.Number) < 0) {
					next = m.stored(m.fragments[n])
				}
			}
			m.mu.Unlock()
			if next != nil {
				after = next.head.Number
				if !yield(next, nil) {
					return
				}
				continue
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	}
}

// player is a client of a Playback over a stream in memory.
type player struct {
	t testing.TB
	m *memory
	p *playback.Playback
}

func newPlayer(t testing.TB, m *memory, change ...func(*playback.Options)) *player {
	t.Helper()
	o := playback.Options{Source: m, Key: [32]byte{1}, Now: m.Now, Limits: limits.New(limits.Rules{HLSRange: 24 * time.Hour, PlaylistFragments: 5000, ClipBytes: 100 << 20, ClipFragments: 200}, limits.Rates{})}
	for _, c := range change {
		c(&o)
	}
	p, err := playback.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return &player{t, m, p}
}

func guide(o *playback.Options) {
	rules, err := limits.RulesOf("guide")
	if err != nil {
		panic(err)
	}
	o.Limits = limits.New(rules, limits.Rates{})
}

// open starts a session.
func (p *player) open(r playback.Request) (string, error) {
	p.t.Helper()
	r.Stream, r.AccessKeyID = p.m.about, "AKIAIOSFODNN7EXAMPLE"
	token, _, err := p.p.Open(p.t.Context(), &r)
	return token, err
}

func (p *player) mustOpen(r playback.Request) string {
	p.t.Helper()
	token, err := p.open(r)
	if err != nil {
		p.t.Fatal(err)
	}
	return token
}

// get loads a relative URI as a player does.
func (p *player) get(uri string, header ...string) (*httptest.ResponseRecorder, error) {
	return p.call(http.MethodGet, uri, header...)
}

func (p *player) call(method, uri string, header ...string) (*httptest.ResponseRecorder, error) {
	r := httptest.NewRequestWithContext(p.t.Context(), method, "/"+uri, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	protocol := playback.HLS
	if strings.Contains(uri, "DASH") || strings.Contains(uri, "&Number=") {
		protocol = playback.DASH
	}
	v, err := p.p.Viewer(r, protocol)
	if err != nil {
		return w, err
	}
	name, _, _ := strings.Cut(uri, "?")
	var text []byte
	var body *playback.Body
	ctx := r.Context()
	switch name {
	case playback.MasterPlaylist:
		text, err = v.Master(ctx)
	case playback.MediaPlaylist:
		text, err = v.Media(ctx)
	case playback.Manifest:
		text, err = v.Manifest(ctx)
	case playback.InitFragment:
		body, err = v.Init(ctx)
	case playback.MediaFragment:
		body, err = v.Fragment(ctx, "GetMP4MediaFragment", playback.FragmentedMP4)
	case playback.TSFragment:
		body, err = v.Fragment(ctx, "GetTSFragment", playback.MPEGTS)
	case playback.PartFragment:
		body, err = v.Part(ctx)
	default:
		return w, fmt.Errorf("no such resource: %s", name)
	}
	switch {
	case err != nil:
		return w, err
	case body != nil:
		return w, body.Write(w, r)
	}
	return w, playback.WriteText(w, r, "text/plain", text)
}

func (p *player) text(uri string) string {
	p.t.Helper()
	w, err := p.get(uri)
	if err != nil {
		p.t.Fatalf("%.60s: %v", uri, err)
	}
	return w.Body.String()
}

func (p *player) media(token string, track int, more string) string {
	p.t.Helper()
	return p.text(fmt.Sprintf("%s?SessionToken=%s&TrackNumber=%d%s", playback.MediaPlaylist, token, track, more))
}

// play lets the clip arrive n times 1.28 s, fragment by fragment, as if live.
func (m *memory) play(c clip, n int) {
	const length = 1280 * time.Millisecond
	for range n {
		k := len(m.entries)
		now := m.Now()
		m.add(&c.fragments[k%len(c.fragments)], c.header.Tracks, now, now.Add(-30*time.Millisecond))
		m.pass(length)
	}
}
