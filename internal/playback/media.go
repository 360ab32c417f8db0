package playback

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/fragment"
	"github.com/sluicevideo/sluice/internal/codec"
	"github.com/sluicevideo/sluice/internal/mux"
	"github.com/sluicevideo/sluice/internal/mux/fmp4"
	"github.com/sluicevideo/sluice/internal/mux/ts"
)

// track is a track that is played.
type track struct {
	number uint32
	params *codec.Params
	frame  time.Duration // DefaultDuration; 0: not given
}

// selection are the tracks of a session: the first with pictures and the first
// with sound.
type selection struct {
	video, audio *track
	skipped      string // the codec of sound that was left out
}

// all are the tracks in the order of playlists and of transport streams.
func (s *selection) all() []*track {
	var out []*track
	if s.video != nil {
		out = append(out, s.video)
	}
	if s.audio != nil {
		out = append(out, s.audio)
	}
	return out
}

func (s *selection) find(number uint32) *track {
	for _, t := range s.all() {
		if t.number == number {
			return t
		}
	}
	return nil
}

// main is the track that the timing of a fragment is read from.
func (s *selection) main() *track {
	if s.video != nil {
		return s.video
	}
	return s.audio
}

// demands are what a kind of session can carry.
type demands struct {
	supports  func(codec.Kind) bool
	guide     bool // as the guide says: H.264, no sound alone
	skip      bool // leave out sound that cannot be carried
	onlyAAC   bool // HLS: other sound is refused
	operation string
}

// choose picks the tracks of a fragment, or says by exception why they cannot be
// played. Sound beside pictures that is of another codec refuses the session, as
// the service does, unless it may be skipped.
func choose(tracks []sluice.Track, d demands) (*selection, error) {
	sel := &selection{}
	for i := range tracks {
		t := &tracks[i]
		kind := codec.KindOf(t)
		video := t.Type == sluice.TrackVideo || t.Type == 0 && kind.Video()
		audio := t.Type == sluice.TrackAudio || t.Type == 0 && kind.Audio()
		switch {
		case video && sel.video == nil:
			if kind != codec.H264 && (kind != codec.H265 || d.guide) {
				return nil, unsupported(t, d, "H.264 or H.265 pictures")
			}
			p, err := parse(t)
			if err != nil {
				return nil, err
			}
			sel.video = &track{number: uint32(t.Number), params: p, frame: t.DefaultDuration}
		case audio && sel.audio == nil && sel.skipped == "":
			if !d.supports(kind) || d.onlyAAC && kind != codec.AAC {
				if d.skip {
					sel.skipped = describe(t)
					continue
				}
				return nil, unsupported(t, d, "AAC sound")
			}
			p, err := parse(t)
			if err != nil {
				return nil, err
			}
			sel.audio = &track{number: uint32(t.Number), params: p, frame: t.DefaultDuration}
		}
	}
	if sel.video == nil && (sel.audio == nil || d.guide) {
		return nil, &sluice.Error{Code: sluice.UnsupportedStreamMediaType,
			Msg: d.operation + ": the fragment has no track that can be played; track 1 must be V_MPEG4/ISO/AVC"}
	}
	return sel, nil
}

func describe(t *sluice.Track) string {
	if k := codec.KindOf(t); k != codec.Unknown {
		return k.String()
	}
	return clip(t.CodecID)
}

func clip(s string) string {
	if len(s) > 64 {
		s = s[:64] + "..."
	}
	return s
}

func unsupported(t *sluice.Track, d demands, want string) error {
	return &sluice.Error{Code: sluice.UnsupportedStreamMediaType,
		Msg: fmt.Sprintf("%s: track %d is %s (CodecID %q); it must be %s", d.operation, t.Number, describe(t), clip(t.CodecID), want)}
}

func parse(t *sluice.Track) (*codec.Params, error) {
	p, err := codec.Parse(t)
	switch {
	case errors.Is(err, codec.ErrMissing) && !errors.Is(err, codec.ErrInvalid):
		return nil, &sluice.Error{Code: sluice.MissingCodecPrivateData,
			Msg: fmt.Sprintf("track %d (%s): codec private data is missing", t.Number, clip(t.CodecID)), Err: err}
	case err != nil:
		return nil, &sluice.Error{Code: sluice.InvalidCodecPrivateData, Msg: "codec private data: " + err.Error(), Err: err}
	}
	return p, nil
}

// fingerprint tells headers apart: what an initialization segment is made of.
func fingerprint(tracks []sluice.Track) uint64 {
	h := sha256.New()
	for i := range tracks {
		t := &tracks[i]
		fmt.Fprintf(h, "%d %q %d\n", t.Number, t.CodecID, len(t.CodecPrivate))
		h.Write(t.CodecPrivate)
	}
	// 0 is no fingerprint.
	return max(binary.BigEndian.Uint64(h.Sum(nil)), 1)
}

// shape is what playlists need to know of a fragment beyond its index row.
type shape struct {
	print    uint64
	tracks   []sluice.Track
	offset   time.Duration // from the fragment's own time to the first of them: sound may come first
	duration time.Duration // of the pictures, or of the sound alone; the last frame included
	frame    time.Duration // how long a frame lasts on average
	frames   int
}

const shapeCost = 512

type shapeKey struct {
	stream sluice.StreamID
	number sluice.FragmentNumber
}

func (p *Playback) shape(ctx context.Context, id sluice.StreamID, n sluice.FragmentNumber) (*shape, error) {
	return get(ctx, p.cache, shapeKey{id, n}, func(ctx context.Context) (*shape, int64, error) {
		f, err := p.o.Source.Fragment(ctx, id, n, false)
		if err != nil {
			return nil, 0, err
		}
		return shapeOf(f), shapeCost, nil
	})
}

func shapeOf(f *Fragment) *shape {
	s := &shape{print: fingerprint(f.Tracks), tracks: f.Tracks}
	number := uint32(0)
	for i := range f.Tracks {
		if t := &f.Tracks[i]; t.Type == sluice.TrackVideo || number == 0 && t.Type == sluice.TrackAudio {
			number = uint32(t.Number)
			s.frame = t.DefaultDuration
			if t.Type == sluice.TrackVideo {
				break
			}
		}
	}
	var first, last, given time.Duration
	for _, e := range f.Index {
		if e.Track != number {
			continue
		}
		if s.frames == 0 {
			first, last = e.Timecode, e.Timecode
		}
		first, last, given = min(first, e.Timecode), max(last, e.Timecode), e.Duration
		s.frames++
	}
	switch {
	case s.frames > 1:
		s.frame = (last - first) / time.Duration(s.frames-1)
	case s.frames == 1 && given > 0:
		s.frame = given
	}
	s.duration = last - first + s.frame
	if s.frames > 0 {
		s.offset = first - f.Timecode
	}
	return s
}

// segment is the body of a media resource.
type segment struct {
	pieces [][]byte // not to be changed
	size   int64

	// The first viewer gets the pieces as they are. For the second they are put
	// together: from there on one write serves where thirty would be needed.
	viewers atomic.Int32
	whole   atomic.Pointer[[]byte]
}

// joined is the segment in one piece, or in its own when it is asked for the
// first time.
func (s *segment) joined() [][]byte {
	if b := s.whole.Load(); b != nil {
		return [][]byte{*b}
	}
	if len(s.pieces) == 1 || s.viewers.Add(1) != 2 {
		return s.pieces
	}
	b := bytes.Join(s.pieces, nil)
	s.whole.Store(&b)
	return [][]byte{b}
}

type mediaKey struct {
	stream sluice.StreamID
	number sluice.FragmentNumber
}

// media gives a fragment with its elements, shared by its tracks and viewers.
func (p *Playback) media(ctx context.Context, id sluice.StreamID, n sluice.FragmentNumber) (*Fragment, error) {
	return get(ctx, p.cache, mediaKey{id, n}, func(ctx context.Context) (*Fragment, int64, error) {
		f, err := p.o.Source.Fragment(ctx, id, n, true)
		if err != nil {
			return nil, 0, err
		}
		return f, int64(len(f.Elements)) + 32*int64(len(f.Index)) + 1024, nil
	})
}

// samples cuts the frames of a track, on the timeline of the clock: presentation
// times count from the epoch.
func samples(f *Fragment, index fragment.Index, elements []byte, t *track, clock sluice.Clock) ([]mux.Sample, error) {
	n := 0
	for i := range index {
		if index[i].Track == t.number {
			n++
		}
	}
	base := time.Duration(f.start(clock).UnixNano()) - f.Timecode
	out := make([]mux.Sample, 0, n)
	for i := range index {
		e := &index[i]
		if e.Track != t.number {
			continue
		}
		end := uint64(e.Offset) + uint64(e.Size)
		if end > uint64(len(elements)) {
			return nil, fmt.Errorf("fragment %s: frame %d ends at %d of %d bytes", f.Number, i, end, len(elements))
		}
		out = append(out, mux.Sample{
			Data: elements[e.Offset:end:end], PTS: base + e.Timecode, Duration: e.Duration,
			Key: e.Key || t.params.Kind.Audio(),
		})
	}
	return out, nil
}

// schedule fills in decoding times. alone is how long a frame lasts that is the
// only one of its track and does not say.
func schedule(s []mux.Sample, t *track, alone time.Duration) {
	last := time.Duration(0)
	if len(s) == 1 && s[0].Duration == 0 {
		if last = t.frame; last == 0 {
			last = alone
		}
	}
	mux.Schedule(s, last)
}

type segmentKey struct {
	stream    sluice.StreamID
	number    sluice.FragmentNumber
	track     uint32 // 0: all of them
	clock     sluice.Clock
	container Container
	silent    bool // sound was left out
	alone     time.Duration
}

// segmentOf packages a fragment for a session. number is 0 for MPEG-TS, which
// carries all tracks.
func (p *Playback) segmentOf(ctx context.Context, s *Session, f *Fragment, sel *selection, number uint32) (*segment, error) {
	key := segmentKey{stream: s.Stream, number: f.Number, track: number, clock: s.Clock, container: s.Container, silent: sel.skipped != ""}
	for _, t := range sel.all() {
		if number == 0 || t.number == number {
			if count(f.Index, t.number) == 1 {
				key.alone = s.Frame
			}
		}
	}
	return get(ctx, p.cache, key, func(context.Context) (*segment, int64, error) {
		if s.Container == MPEGTS {
			seg, err := transport(f, sel, s)
			if err != nil {
				return nil, 0, err
			}
			return seg, seg.size, nil
		}
		t := sel.find(number)
		if t == nil {
			return nil, 0, notFound(fmt.Sprintf("TrackNumber %d: the fragment has no such track", number))
		}
		list, err := samples(f, f.Index, f.Elements, t, s.Clock)
		if err != nil {
			return nil, 0, err
		}
		schedule(list, t, s.Frame)
		out, err := fmp4.AppendFragment(nil, uint32(f.Number.Sequence()), fmp4.Run{
			Track: fmp4.Track{ID: t.number, Params: t.params, Timescale: fmp4.TimescaleOf(t.params)}, Samples: list,
		})
		if err != nil {
			return nil, 0, badFrame(f, err)
		}
		seg := &segment{pieces: out, size: fmp4.Length(out)}
		// The payload is the fragment's: kept alive, so counted again; and once more
		// for the second viewer.
		return seg, 2 * seg.size, nil
	})
}

func count(index fragment.Index, number uint32) int {
	n := 0
	for i := range index {
		if index[i].Track == number {
			n++
		}
	}
	return n
}

func badFrame(f *Fragment, err error) error {
	if errors.Is(err, codec.ErrInvalid) || errors.Is(err, codec.ErrUnsupported) {
		return &sluice.Error{Code: sluice.InvalidMediaFrame, Msg: "fragment " + f.Number.String() + ": " + err.Error(), Err: err}
	}
	return err
}

// transport is the MPEG-TS segment of a fragment. Its tables count by the
// fragment's sequence: consecutive fragments of a PutMedia session are
// consecutive there, and elsewhere a table's counter that jumps does no harm.
func transport(f *Fragment, sel *selection, s *Session) (*segment, error) {
	var runs []ts.Run
	for _, t := range sel.all() {
		list, err := samples(f, f.Index, f.Elements, t, s.Clock)
		if err != nil {
			return nil, err
		}
		schedule(list, t, s.Frame)
		runs = append(runs, ts.Run{Params: t.params, Samples: list})
	}
	b, err := ts.AppendSegment(nil, uint64(f.Number.Sequence()), runs...)
	if err != nil {
		return nil, badFrame(f, err)
	}
	return &segment{pieces: [][]byte{b}, size: int64(len(b))}, nil
}

// initSegment is ftyp and moov of one track.
func initSegment(t *track) (*segment, error) {
	b, err := fmp4.Init(fmp4.Track{ID: t.number, Params: t.params, Timescale: fmp4.TimescaleOf(t.params)})
	if err != nil {
		return nil, err
	}
	return &segment{pieces: [][]byte{b}, size: int64(len(b))}, nil
}
