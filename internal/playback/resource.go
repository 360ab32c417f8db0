package playback

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/catalog"
	"github.com/sluicevideo/sluice/internal/limits"
	"github.com/sluicevideo/sluice/internal/playback/dash"
	"github.com/sluicevideo/sluice/internal/playback/hls"
	"github.com/sluicevideo/sluice/internal/store"
)

// Names of the resources, which stand under /hls/v1/ and /dash/v1/.
const (
	MasterPlaylist = "getHLSMasterPlaylist.m3u8"
	MediaPlaylist  = "getHLSMediaPlaylist.m3u8"
	InitFragment   = "getMP4InitFragment.mp4"
	MediaFragment  = "getMP4MediaFragment.mp4"
	TSFragment     = "getTSFragment.ts"
	PartFragment   = "getMP4Part.mp4"
	Manifest       = "getDASHManifest.mpd"
)

// Viewer is a request for a resource of a session, resumed.
type Viewer struct {
	Session *Session
	Stream  catalog.Stream
	token   string
	query   url.Values
	p       *Playback
}

// Viewer opens the session that the request's SessionToken names; see Resume.
func (p *Playback) Viewer(r *http.Request, protocol Protocol) (*Viewer, error) {
	if len(r.URL.RawQuery) > 4096 {
		return nil, invalid("query: is longer than 4096 characters")
	}
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, invalid("query: cannot be read")
	}
	token := q.Get("SessionToken")
	s, stream, err := p.Resume(r.Context(), token, protocol)
	if err != nil {
		return nil, err
	}
	// Ours: any client may ask for it on the URL, as SDKs refuse unknown members.
	if v := q.Get("LowLatency"); v != "" && s.Mode == Live && s.Protocol == HLS && s.Container == FragmentedMP4 {
		s.LowLatency = v == "1"
	}
	return &Viewer{Session: s, Stream: stream, token: token, query: q, p: p}, nil
}

// Key is whose request it is, for limits.
func (v *Viewer) Key(operation string) limits.Key {
	return limits.Key{Operation: operation, Stream: v.Stream.Name, Session: v.Session.ID}
}

func (v *Viewer) number(name string, least, most uint64) (uint64, error) {
	n, err := strconv.ParseUint(v.query.Get(name), 10, 64)
	if err != nil || n < least || n > most {
		return 0, invalid(fmt.Sprintf("%s: must be a number of %d to %d", name, least, most))
	}
	return n, nil
}

// uri is a relative URI of a resource of this session, in the order of
// parameters that the service has.
func (v *Viewer) uri(resource, before, after string) string {
	return resource + "?" + before + "SessionToken=" + v.token + after
}

func (v *Viewer) trackURI(resource string, number uint32, more string) string {
	return v.uri(resource, "", "&TrackNumber="+strconv.FormatUint(uint64(number), 10)+more)
}

// low is what a request for low latency passes on to the URIs it is answered.
func (v *Viewer) low() string {
	if v.Session.LowLatency && v.query.Get("LowLatency") != "" {
		return "&LowLatency=1"
	}
	return ""
}

// listed counts a listing against the stream's metadata points.
func (v *Viewer) listed(n int, operation string) error {
	return v.p.o.Limits.Take(limits.MetadataPoints, v.Key(operation), n)
}

func (v *Viewer) view(ctx context.Context, operation string) (*view, *selection, error) {
	s := v.Session
	list, err := v.p.view(ctx, s, v.Stream.Retention, recentAge)
	if err != nil {
		return nil, nil, err
	}
	if err := v.listed(len(list.items), operation); err != nil {
		return nil, nil, err
	}
	if len(list.items) == 0 {
		if s.Mode == OnDemand {
			return nil, nil, notFound("the fragments of the session have expired")
		}
		// A live stream that has been silent for longer than it retains data.
		return list, nil, nil
	}
	sel, err := choose(list.items[0].shape.tracks, s.demands(operation))
	return list, sel, err
}

// bandwidth is the peak bit rate of what is listed.
func (l *view) bandwidth() int64 {
	var peak float64
	for i := range l.items {
		it := &l.items[i]
		peak = max(peak, float64(it.Bytes)*8/max(it.duration, time.Millisecond).Seconds())
	}
	return int64(peak) + 1
}

func (l *view) frameRate(sel *selection) float64 {
	if sel.video == nil {
		return 0
	}
	if f := l.items[0].shape.frame; f > 0 {
		return float64(time.Second) / float64(f)
	}
	return sel.video.params.FrameRate
}

// Master answers getHLSMasterPlaylist.
func (v *Viewer) Master(ctx context.Context) ([]byte, error) {
	list, sel, err := v.view(ctx, "GetHLSMasterPlaylist")
	if err != nil {
		return nil, err
	}
	if sel == nil {
		return nil, notFound("stream " + v.Stream.Name + " has no fragments to play")
	}
	if list, err = v.tuneIn(ctx, list); err != nil {
		return nil, err
	}
	m := hls.Master{Bandwidth: list.bandwidth(), FrameRate: list.frameRate(sel), URI: v.trackURI(MediaPlaylist, sel.main().number, v.low())}
	for _, t := range sel.all() {
		m.Codecs = append(m.Codecs, t.params.Codec)
	}
	if sel.video != nil {
		m.Width, m.Height = sel.video.params.Width, sel.video.params.Height
		if sel.audio != nil && v.Session.Container == FragmentedMP4 {
			m.AudioURI = v.trackURI(MediaPlaylist, sel.audio.number, v.low())
		}
	}
	return m.Append(nil), nil
}

// tuneInMost is how long a player's start may be held back.
const tuneInMost = time.Second

// tuneIn waits for the next fragment when that is soon there. A live player stays
// three target durations behind the end of the first playlist that it sees, so one
// that begins just before a fragment is listed would show the picture later by a
// fragment for good. Low latency needs the open fragment instead, and who follows
// it is begun here.
func (v *Viewer) tuneIn(ctx context.Context, list *view) (*view, error) {
	s, p := v.Session, v.p
	if s.Mode != Live {
		return list, nil
	}
	last := &list.items[len(list.items)-1]
	if s.LowLatency {
		p.edgeOf(s.Stream, list.edge(s))
		return list, nil
	}
	// The one behind it began when it ended, and is as long.
	left := last.Server().Add(2 * last.duration).Sub(p.o.Now())
	if left <= 0 || left > min(last.duration*4/5, tuneInMost) {
		return list, nil
	}
	until := time.NewTimer(left + last.duration/4)
	defer until.Stop()
	again := time.NewTimer(left)
	defer again.Stop()
	for {
		select {
		case <-again.C:
		case <-until.C:
			return list, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		now, err := p.view(ctx, s, v.Stream.Retention, durablePoll)
		if err != nil {
			return nil, err
		}
		if n := len(now.items); n > 0 && now.items[n-1].Number != last.Number {
			return now, nil
		}
		again.Reset(durablePoll)
	}
}

// Media answers getHLSMediaPlaylist.
func (v *Viewer) Media(ctx context.Context) ([]byte, error) {
	const operation = "GetHLSMediaPlaylist"
	s := v.Session
	n, err := v.number("TrackNumber", 0, 1<<31)
	if err != nil {
		return nil, err
	}
	if s.LowLatency {
		return v.lowMedia(ctx, uint32(n))
	}
	list, _, err := v.view(ctx, operation)
	if err != nil {
		return nil, err
	}
	m := v.playlist(list, uint32(n))
	return m.Append(make([]byte, 0, 512+400*len(m.Segments))), nil
}

func (v *Viewer) playlist(list *view, number uint32) *hls.Media {
	m := &hls.Media{VOD: v.Session.Mode == OnDemand, Target: list.target, Sequence: list.sequence,
		DiscontinuitySequence: list.discontinuities, Ended: list.ended, Segments: make([]hls.Segment, len(list.items))}
	for i := range list.items {
		m.Segments[i] = v.segment(&list.items[i], number)
	}
	return m
}

func (v *Viewer) segment(it *item, number uint32) hls.Segment {
	s := v.Session
	seg := hls.Segment{Duration: it.duration, Discontinuity: it.discontinuity}
	fn := "FragmentNumber=" + it.Number.String() + "&"
	if s.Container == MPEGTS {
		seg.URI = v.uri(TSFragment, fn, "")
	} else {
		seg.URI = v.uri(MediaFragment, fn, "&TrackNumber="+strconv.FormatUint(uint64(number), 10))
		seg.Map = v.initURI(number, it.header)
	}
	if s.ShowTimes {
		seg.Time = it.start
	}
	return seg
}

func (v *Viewer) initURI(number uint32, header sluice.Sequence) string {
	return v.trackURI(InitFragment, number, "&SequenceNumber="+strconv.FormatUint(uint64(header), 10))
}

// Init answers getMP4InitFragment.
func (v *Viewer) Init(ctx context.Context) (*Body, error) {
	const operation = "GetMP4InitFragment"
	number, err := v.number("TrackNumber", 1, 1<<31)
	if err != nil {
		return nil, err
	}
	header := uint64(0)
	if v.query.Has("SequenceNumber") {
		if header, err = v.number("SequenceNumber", 0, 1<<62); err != nil {
			return nil, err
		}
	}
	at := v.Session.First
	if header != 0 {
		at = sluice.Sequence(header)
		if at < v.Session.First && v.Session.Clock == sluice.ServerClock {
			return nil, denied("SequenceNumber: is not in the session")
		}
	}
	sh, err := v.shapeAt(ctx, at)
	if err != nil {
		return nil, err
	}
	sel, err := choose(sh.tracks, v.Session.demands(operation))
	if err != nil {
		return nil, err
	}
	t := sel.find(uint32(number))
	if t == nil {
		return nil, notFound(fmt.Sprintf("TrackNumber %d: the stream has no such track", number))
	}
	seg, err := initSegment(t)
	if err != nil {
		return nil, err
	}
	return seg.body("video/mp4", fmt.Sprintf(`"i%d-%x"`, number, sh.print)), nil
}

type headerKey struct {
	stream sluice.StreamID
	at     sluice.Sequence
}

// shapeAt is the shape of the first fragment at or above a sequence: when the one
// with that sequence has expired, the next has the same headers as a rule.
func (v *Viewer) shapeAt(ctx context.Context, at sluice.Sequence) (*shape, error) {
	id := v.Session.Stream
	return get(ctx, v.p.cache, headerKey{id, at}, func(ctx context.Context) (*shape, int64, error) {
		for e, err := range v.p.o.Source.List(ctx, id, store.Query{Order: store.ByNumber, After: before(at), Limit: 16}) {
			if err != nil {
				return nil, 0, err
			}
			if sh, err := v.p.shape(ctx, id, e.Number); !errors.Is(err, ErrGone) {
				return sh, shapeCost, err
			}
		}
		return nil, 0, notFound("the fragments of the session have expired")
	})
}

// Fragment answers getMP4MediaFragment and getTSFragment.
func (v *Viewer) Fragment(ctx context.Context, operation string, container Container) (*Body, error) {
	s := v.Session
	if s.Container != container {
		return nil, notFound(operation + ": the session's ContainerFormat is another")
	}
	number := uint64(0)
	kind := "video/mp2t"
	if container == FragmentedMP4 {
		var err error
		if number, err = v.number("TrackNumber", 1, 1<<31); err != nil {
			return nil, err
		}
		kind = "video/mp4"
	}
	n, err := v.fragmentNumber(ctx)
	if err != nil {
		return nil, err
	}
	if err := v.p.o.Limits.Take(limits.MediaPoints, v.Key(operation), 1); err != nil {
		return nil, err
	}
	f, err := v.p.media(ctx, s.Stream, n)
	if errors.Is(err, ErrGone) {
		return nil, v.gone(ctx, n)
	}
	if err != nil {
		return nil, err
	}
	if err := v.belongs(ctx, f); err != nil {
		return nil, err
	}
	sel, err := choose(f.Tracks, s.demands(operation))
	if err != nil {
		return nil, err
	}
	if number != 0 && sel.find(uint32(number)) == nil {
		return nil, notFound(fmt.Sprintf("TrackNumber %d: the fragment has no such track", number))
	}
	if t := sel.find(uint32(number)); t != nil && t.params.Kind.Audio() {
		kind = "audio/mp4"
	}
	seg, err := v.p.segmentOf(ctx, s, f, sel, uint32(number))
	if err != nil {
		return nil, err
	}
	return seg.body(kind, fmt.Sprintf(`"%x-%d-%d-%d"`, uint64(f.Number.Sequence()), number, s.Clock, container)), nil
}

// fragmentNumber is the fragment that the request names, by its number or, in
// DASH, by its place in the session.
func (v *Viewer) fragmentNumber(ctx context.Context) (sluice.FragmentNumber, error) {
	if text := v.query.Get("FragmentNumber"); text != "" || v.Session.Protocol == HLS {
		n, err := sluice.ParseFragmentNumber(text)
		if err != nil {
			return n, invalid("FragmentNumber: " + err.Error())
		}
		return n, nil
	}
	at, err := v.number("Number", 1, 1<<62)
	if err != nil {
		return sluice.FragmentNumber{}, err
	}
	return v.bySequence(ctx, at-1)
}

// gone is why there is no fragment of that number: it has expired, which is 404;
// or, as fragments go in their order, it never was one of this stream, which the
// token does not open.
func (v *Viewer) gone(ctx context.Context, n sluice.FragmentNumber) error {
	for e, err := range v.p.o.Source.List(ctx, v.Session.Stream, store.Query{Order: store.ByNumber, Limit: 1}) {
		if err != nil {
			return err
		}
		if n.Compare(e.Number) > 0 {
			return denied("FragmentNumber: is not of the session's stream")
		}
	}
	return notFound("FragmentNumber: there is no such fragment, or no longer")
}

// belongs refuses fragments that are no part of the session: a token opens what
// its caller asked for, and nothing beside it.
func (v *Viewer) belongs(ctx context.Context, f *Fragment) error {
	s := v.Session
	outside := denied("FragmentNumber: is not in the session")
	start := f.start(s.Clock)
	switch s.Mode {
	case Live:
		if f.Number.Sequence() < s.First {
			return outside
		}
	default:
		if !s.To.IsZero() && start.After(s.To) {
			return outside
		}
		if start.Before(s.From) && !(s.Overlap && start.Add(shapeOf(f).duration).After(s.From)) {
			return outside
		}
	}
	if fingerprint(f.Tracks) == s.Print {
		return nil
	}
	if s.OneHeader {
		return &sluice.Error{Code: sluice.InvalidCodecPrivateData,
			Msg: "fragment " + f.Number.String() + ": its codec private data differs from that of the session's first fragment"}
	}
	sh, err := v.shapeAt(ctx, s.First)
	if err != nil {
		return nil // the first fragment is gone: there is nothing to compare with
	}
	if !sameTracks(sh, f) {
		return &sluice.Error{Code: sluice.UnsupportedStreamMediaType,
			Msg: "fragment " + f.Number.String() + ": its tracks or codecs differ from those of the session's first fragment"}
	}
	return nil
}

func sameTracks(sh *shape, f *Fragment) bool {
	return slices.EqualFunc(sh.tracks, f.Tracks, func(a, b sluice.Track) bool {
		return a.Number == b.Number && a.Type == b.Type && a.CodecID == b.CodecID
	})
}

// Manifest answers getDASHManifest.
func (v *Viewer) Manifest(ctx context.Context) ([]byte, error) {
	list, sel, err := v.view(ctx, "GetDASHManifest")
	if err != nil {
		return nil, err
	}
	if sel == nil {
		return nil, notFound("stream " + v.Stream.Name + " has no fragments to play")
	}
	s := v.Session
	m := dash.Manifest{
		Live: s.Mode != OnDemand, Now: v.p.o.Now(), Update: time.Second, Ended: list.ended, MinBuffer: list.target,
		StartNumber: list.sequence + 1, Available: time.Unix(0, 0).Add(s.Skew), Depth: list.span(), Delay: min(3*list.target, list.span()),
	}
	if s.Mode == LiveReplay {
		m.Available = time.Unix(0, 0).Add(s.Created.Sub(s.From.Add(s.Lead)))
	}
	for i := range list.items {
		it := &list.items[i]
		f := dash.Fragment{Start: it.joined, End: it.ends()}
		if s.ShowNumbers {
			f.Number = it.Number.String()
		}
		if s.ShowTimes {
			f.Time = it.start.UTC().Format("2006-01-02T15:04:05.000Z")
		}
		m.Fragments = append(m.Fragments, f)
	}
	for _, t := range sel.all() {
		d := dash.Track{
			Video: t.params.Kind.Video(), Codecs: t.params.Codec, Width: t.params.Width, Height: t.params.Height,
			SampleRate: t.params.SampleRate, Channels: t.params.Channels, Bandwidth: list.bandwidth(),
			Init:  v.trackURI(InitFragment, t.number, "&SequenceNumber=0"),
			Media: v.trackURI(MediaFragment, t.number, "&Number=$Number$"),
		}
		if d.Video {
			d.FrameRate = list.frameRate(sel)
		}
		m.Tracks = append(m.Tracks, d)
	}
	return m.Append(nil), nil
}

// span is how much time the list covers.
func (l *view) span() time.Duration {
	n := len(l.items)
	return l.items[n-1].ends().Sub(l.items[0].begins())
}

// bySequence finds the fragment at a place of the session.
func (v *Viewer) bySequence(ctx context.Context, at uint64) (sluice.FragmentNumber, error) {
	list, err := v.p.view(ctx, v.Session, v.Stream.Retention, recentAge)
	if err != nil {
		return sluice.FragmentNumber{}, err
	}
	for i := range list.items {
		if list.items[i].sequence == at {
			return list.items[i].Number, nil
		}
	}
	for _, f := range list.past {
		if f.sequence == at {
			return f.number, nil
		}
	}
	return sluice.FragmentNumber{}, notFound("Number: is not in the session")
}

// Body is what a resource answers with. It is read only and may be shared.
type Body struct {
	Type string
	ETag string
	*segment
}

// Size is the body's length in bytes.
func (b *Body) Size() int64 { return b.size }

func (s *segment) body(kind, etag string) *Body { return &Body{Type: kind, ETag: etag, segment: s} }

// Write answers a request with the body: HEAD, ranges and conditions included.
// Fragments never change, so players may keep them; proxies may not, as the URL
// is a secret.
func (b *Body) Write(w http.ResponseWriter, r *http.Request) error {
	h := w.Header()
	h.Set("Content-Type", b.Type)
	h.Set("ETag", b.ETag)
	h.Set("Cache-Control", "private, max-age=300")
	if r.Method == http.MethodGet && r.Header.Get("Range") == "" && r.Header.Get("If-None-Match") == "" {
		h.Set("Content-Length", strconv.FormatInt(b.size, 10))
		h.Set("Accept-Ranges", "bytes")
		for _, p := range b.joined() {
			if _, err := w.Write(p); err != nil {
				return nil // the player has left, as players do: not our failure
			}
		}
		return nil
	}
	http.ServeContent(w, r, "", time.Time{}, io.NewSectionReader(b.segment, 0, b.size))
	return nil
}

// ReadAt reads from the pieces as if they were one.
func (s *segment) ReadAt(p []byte, off int64) (n int, err error) {
	for _, piece := range s.pieces {
		if off >= int64(len(piece)) {
			off -= int64(len(piece))
			continue
		}
		n += copy(p[n:], piece[off:])
		off = 0
		if n == len(p) {
			return n, nil
		}
	}
	return n, io.EOF
}

// WriteText answers with a playlist or manifest.
func WriteText(w http.ResponseWriter, r *http.Request, kind string, text []byte) error {
	h := w.Header()
	h.Set("Content-Type", kind)
	// What is on its way to change must be asked for each time.
	h.Set("Cache-Control", "no-cache")
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(text))
	return nil
}
