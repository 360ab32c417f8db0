// Package playback turns stored fragments into what players understand: HLS and
// DASH sessions with their playlists and media segments, and clips. Frames are
// cut from the fragments by their index and packaged by internal/mux; nothing is
// transcoded.
//
// A session is its token: everything that its resources depend on stands in it,
// sealed, so any server with the same key serves it, also after a restart.
// What the package keeps in memory is only what can be found again: fragments
// read lately, and how far each live session has come.
//
//	token.go     the session and its sealed form     media.go    fragment -> segments
//	session.go   the calls that open one             clip.go     GetClip
//	timeline.go  which fragments a playlist has      cache.go    bytes shared by viewers
//	resource.go  the resources of a session          low.go      low latency
//
// hls and dash below it only write text.
//
// Media times are the selected timestamps themselves, counted from the epoch: a
// segment is the same bytes in every session and joins the one before it.
//
// Source: guide, "Video Playback Using HLS", GetHLSStreamingSessionURL;
// API reference of GetDASHStreamingSessionURL and GetClip; RFC 8216.
package playback

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"sync"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/fragment"
	"github.com/sluicevideo/sluice/internal/catalog"
	"github.com/sluicevideo/sluice/internal/limits"
	"github.com/sluicevideo/sluice/internal/store"
)

// Fragment is one fragment's media, as playback reads it. It is read only and
// may be shared.
type Fragment struct {
	Number           sluice.FragmentNumber
	Producer, Server time.Time
	Timecode         time.Duration // of the Cluster, as the entries count
	Tracks           []sluice.Track
	Index            fragment.Index
	Elements         []byte // what the index's offsets count in; nil when only the head was asked for
}

// start is when the fragment begins by that clock.
func (f *Fragment) start(c sluice.Clock) time.Time {
	if c == sluice.ProducerClock {
		return f.Producer
	}
	return f.Server
}

// LiveFrame is a frame of a fragment that is still open.
type LiveFrame struct {
	fragment.Entry
	Data []byte // the payload; read only
}

// Arriving is a fragment on its way in.
type Arriving interface {
	// Head is the fragment without its media: no index, no elements.
	Head() *Fragment
	// Next waits for frames that it has not given yet. It returns io.EOF when the
	// fragment is complete, and another error when it was aborted or ctx ended.
	Next(ctx context.Context) ([]LiveFrame, error)
	// Behind reports whether more has arrived than Next has given.
	Behind() bool
}

// ErrGone says that a fragment is not there, or no longer.
var ErrGone = errors.New("fragment is gone")

// Source is where streams and fragments come from. Its errors are *sluice.Error
// where a caller should see them.
type Source interface {
	// Stream finds an active stream; ByID also says when it has been deleted.
	Stream(ctx context.Context, ref sluice.StreamRef) (catalog.Stream, error)
	ByID(ctx context.Context, id sluice.StreamID) (catalog.Stream, error)
	// List gives durable fragments within the stream's retention.
	List(ctx context.Context, id sluice.StreamID, q store.Query) iter.Seq2[store.Entry, error]
	// Fragment gives a durable fragment, or an error that wraps ErrGone. Elements
	// are there only when media is asked for.
	Fragment(ctx context.Context, id sluice.StreamID, n sluice.FragmentNumber, media bool) (*Fragment, error)
	// Follow yields the fragments above after as they begin, open ones included,
	// for low latency. It ends with ctx.
	Follow(ctx context.Context, id sluice.StreamID, after sluice.FragmentNumber) iter.Seq2[Arriving, error]
}

// Options of New. Source and Key must be given.
type Options struct {
	Source Source
	Key    [32]byte       // seals session tokens
	Limits *limits.Limits // nil: no limits
	// Permit says whether the access key that opened a session may still do
	// action on its stream, as ActionHLS, from where it did; an error ends the
	// session. nil: always.
	Permit func(ctx context.Context, s *Session, action string, stream *catalog.Stream) error
	// CacheBytes bounds the fragments and segments kept for viewers who come
	// next. 0: 64 MiB.
	CacheBytes int64
	// LowLatency makes every live HLS session a low-latency one.
	LowLatency bool
	// PartTarget is how long partial segments are, roughly: they hold whole
	// frames. 0: 100 ms.
	PartTarget time.Duration
	Logger     *slog.Logger
	Now        func() time.Time
}

// IAM actions that a session goes on needing.
const (
	ActionHLS  = "kinesisvideo:GetHLSStreamingSessionURL"
	ActionDASH = "kinesisvideo:GetDASHStreamingSessionURL"
)

// Playback serves sessions and clips. It is safe for any number of goroutines.
type Playback struct {
	o     Options
	seal  *sealer
	cache *cache

	ctx  context.Context // of the edges; ended by Close
	stop context.CancelFunc
	wg   sync.WaitGroup

	mu        sync.Mutex // guards the maps, held for lookups only
	timelines map[timelineKey]*timeline
	used      []timelineKey // by first use, to forget the oldest
	items     int           // that the timelines may hold
	recent    map[sluice.StreamID]*recent
	permits   map[permitKey]permit
	edges     map[sluice.StreamID]*edge
	opened    map[sluice.StreamID][]admission // the newest sessions, where their number is limited
}

// New makes a Playback.
func New(o Options) (*Playback, error) {
	if o.CacheBytes == 0 {
		o.CacheBytes = 64 << 20
	}
	if o.PartTarget == 0 {
		o.PartTarget = 100 * time.Millisecond
	}
	if o.Limits == nil {
		o.Limits = limits.New(limits.Rules{}, limits.Rates{})
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	s, err := newSealer(o.Key)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	return &Playback{
		ctx: ctx, stop: stop,
		o: o, seal: s, cache: newCache(o.CacheBytes),
		timelines: make(map[timelineKey]*timeline), recent: make(map[sluice.StreamID]*recent),
		permits: make(map[permitKey]permit), edges: make(map[sluice.StreamID]*edge), opened: make(map[sluice.StreamID][]admission),
	}, nil
}

// Close ends what runs in the background. Requests must have ended before.
func (p *Playback) Close() {
	p.stop()
	p.wg.Wait()
}

func invalid(msg string) error { return &sluice.Error{Code: sluice.InvalidArgument, Msg: msg} }

func notFound(msg string) error { return &sluice.Error{Code: sluice.ResourceNotFound, Msg: msg} }

// denied is the 403 of a session that has ended.
func denied(msg string) error { return &sluice.Error{Code: sluice.AccessDenied, Msg: msg} }
