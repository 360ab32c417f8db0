package playback

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/fragment"
	"github.com/sluicevideo/sluice/internal/catalog"
	"github.com/sluicevideo/sluice/internal/store"
	"github.com/sluicevideo/sluice/internal/stream"
	"github.com/sluicevideo/sluice/mkv"
)

// registrySource is the streams of this server.
type registrySource struct {
	registry *stream.Registry
	catalog  *catalog.Catalog

	// Producers send the same header for days: what it says is read once.
	mu      sync.Mutex
	headers map[[32]byte]header
	// streams are the catalog's rows as of its last change: a thousand viewers ask
	// for one some thousand times a second.
	streams map[sluice.StreamID]catalog.Stream
	changes int
}

type header struct {
	tracks []sluice.Track
	scale  time.Duration
}

// maxHeaders bounds the headers remembered.
const maxHeaders = 1024

// FromRegistry is the Source of a server's own streams. It adds a hook to the
// catalog, so it must be called before the catalog is used.
func FromRegistry(r *stream.Registry, c *catalog.Catalog) Source {
	s := &registrySource{registry: r, catalog: c, headers: make(map[[32]byte]header), streams: make(map[sluice.StreamID]catalog.Stream)}
	c.OnChange(func(st catalog.Stream) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.changes++
		delete(s.streams, st.ID)
	})
	return s
}

func (s *registrySource) Stream(ctx context.Context, ref sluice.StreamRef) (catalog.Stream, error) {
	return s.registry.Resolve(ctx, ref)
}

func (s *registrySource) ByID(ctx context.Context, id sluice.StreamID) (catalog.Stream, error) {
	s.mu.Lock()
	st, ok := s.streams[id]
	changes := s.changes
	s.mu.Unlock()
	if ok {
		return st, nil
	}
	st, err := s.catalog.ByID(ctx, id)
	if err == nil && st.Status != catalog.Active {
		err = notFound("The requested stream is not found or not active.")
	}
	if err != nil {
		return st, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if changes == s.changes { // else what was read may be older than the change
		if len(s.streams) >= maxTimelines {
			clear(s.streams)
		}
		s.streams[id] = st
	}
	return st, nil
}

func (s *registrySource) List(ctx context.Context, id sluice.StreamID, q store.Query) iter.Seq2[store.Entry, error] {
	return s.registry.List(ctx, id, q)
}

func (s *registrySource) Fragment(ctx context.Context, id sluice.StreamID, n sluice.FragmentNumber, media bool) (*Fragment, error) {
	f, err := s.registry.Get(ctx, id, n)
	if err != nil {
		return nil, goneAs(err)
	}
	index, err := f.Index(ctx)
	if err != nil {
		return nil, goneAs(err)
	}
	out := &Fragment{Number: f.Number, Producer: f.Producer, Server: f.Server, Index: index}
	var first []byte // enough to find the Cluster's timestamp in
	if media {
		if out.Elements, err = f.Elements(ctx); err != nil {
			return nil, goneAs(err)
		}
		first = out.Elements
	} else {
		for p, err := range f.Parts(ctx) {
			if err != nil {
				return nil, goneAs(err)
			}
			first = p.Bytes
			break
		}
	}
	return out, s.describe(out, f.Leading, first)
}

func goneAs(err error) error {
	if errors.Is(err, store.ErrNone) || errors.Is(err, stream.ErrGone) {
		return fmt.Errorf("%w: %w", ErrGone, err)
	}
	return err
}

// describe fills in what the leading bytes and the Cluster's header say.
func (s *registrySource) describe(f *Fragment, leading, elements []byte) error {
	h, err := s.header(leading)
	if err != nil {
		return fmt.Errorf("fragment %s: header: %w", f.Number, err)
	}
	f.Tracks = h.tracks
	at, err := clusterTime(elements)
	if err != nil {
		return fmt.Errorf("fragment %s: %w", f.Number, err)
	}
	f.Timecode = time.Duration(at) * h.scale
	return nil
}

// header reads the tracks out of a chunk's leading bytes.
func (s *registrySource) header(leading []byte) (header, error) {
	key := sha256.Sum256(leading)
	s.mu.Lock()
	h, ok := s.headers[key]
	s.mu.Unlock()
	if ok {
		return h, nil
	}
	d := mkv.NewDemuxer(mkv.Options{})
	d.Feed(leading)
	for {
		if _, err := d.Next(); errors.Is(err, mkv.ErrMore) {
			break
		} else if err != nil {
			return h, err
		}
	}
	h = header{tracks: d.Tracks(), scale: d.Scale()}
	// Events and what they point to end with the demuxer's input; the tracks are
	// kept, so their bytes are copied.
	for i := range h.tracks {
		h.tracks[i].CodecPrivate = append([]byte(nil), h.tracks[i].CodecPrivate...)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.headers) >= maxHeaders {
		clear(s.headers)
	}
	s.headers[key] = h
	return h, nil
}

// clusterTime is the timestamp of the Cluster that elements begin with, in ticks.
func clusterTime(elements []byte) (int64, error) {
	// A document around it, so that the demuxer knows where it is.
	d := mkv.NewDemuxer(mkv.Options{})
	d.Feed(mkv.AppendSegment(mkv.AppendHeader(nil)))
	for {
		if _, err := d.Next(); err != nil {
			break
		}
	}
	d.Feed(elements[:min(len(elements), clusterHead)])
	for {
		if t, ok := d.ClusterTimestamp(); ok {
			return t, nil
		}
		if _, err := d.Next(); err != nil {
			return 0, fmt.Errorf("timestamp of the Cluster: %w", err)
		}
	}
}

// clusterHead is how far into a Cluster its timestamp is looked for: it is the
// first or second element.
const clusterHead = 4096

func (s *registrySource) Follow(ctx context.Context, id sluice.StreamID, after sluice.FragmentNumber) iter.Seq2[Arriving, error] {
	return func(yield func(Arriving, error) bool) {
		st, err := s.ByID(ctx, id)
		if err != nil {
			yield(nil, err)
			return
		}
		c, err := s.registry.Follow(ctx, sluice.StreamRef{Name: st.Name}, sluice.StartSelector{Type: sluice.SelectFragmentNumber, After: after})
		if err != nil {
			yield(nil, err)
			return
		}
		for {
			f, err := c.Next(ctx)
			var one *stream.FragmentError
			if errors.As(err, &one) {
				continue
			}
			if err != nil {
				yield(nil, err)
				return
			}
			a, err := s.arriving(ctx, f)
			if errors.Is(err, errEmpty) {
				continue
			}
			if err == nil {
				ok := yield(a, nil)
				a.stop()
				if !ok {
					return
				}
				continue
			}
			if ctx.Err() != nil {
				return
			}
			// Aborted before its first frame, or not to be read: nobody misses it.
		}
	}
}

var errEmpty = errors.New("fragment without bytes")

// arriving follows one fragment as its bytes come.
type arriving struct {
	head  *Fragment
	next  func() (stream.Part, error, bool)
	stop  func()
	first stream.Part

	bytes  []byte // of the fragment so far; frames that are handed out alias it
	handed bool   // first was handed out

	whole           *stream.Fragment
	given           bool          // a frame was
	earliest, final time.Duration // of those given
}

// arriving waits for the first bytes, which hold the Cluster's timestamp.
func (s *registrySource) arriving(ctx context.Context, f *stream.Fragment) (*arriving, error) {
	a := &arriving{whole: f, head: &Fragment{Number: f.Number, Producer: f.Producer, Server: f.Server}}
	a.next, a.stop = iter.Pull2(f.Parts(ctx))
	for {
		p, err, ok := a.next()
		switch {
		case !ok:
			a.stop()
			return nil, errEmpty
		case err != nil:
			a.stop()
			return nil, err
		}
		a.add(&p)
		a.first.Frames = append(a.first.Frames, p.Frames...)
		if err := s.describe(a.head, f.Leading, a.bytes); err == nil {
			return a, nil
		} else if len(a.bytes) > clusterHead {
			a.stop()
			return nil, err
		}
	}
}

// add copies a part behind the others. A cursor's bytes are its own only until
// the next part, and frames may lie across parts; a live fragment is copied once
// for all low-latency viewers of its stream.
func (a *arriving) add(p *stream.Part) { a.bytes = append(a.bytes, p.Bytes...) }

func (a *arriving) Head() *Fragment { return a.head }

func (a *arriving) Next(context.Context) ([]LiveFrame, error) {
	if !a.handed {
		a.handed = true
		if len(a.first.Frames) > 0 {
			return a.cut(a.first.Frames), nil
		}
	}
	p, err, ok := a.next()
	if !ok {
		return nil, io.EOF
	}
	if err != nil {
		return nil, err
	}
	a.add(&p)
	return a.cut(p.Frames), nil
}

func (a *arriving) Behind() bool {
	return a.whole.Complete() || a.whole.Length() > a.final-a.earliest
}

func (a *arriving) cut(frames []fragment.Entry) []LiveFrame {
	out := make([]LiveFrame, 0, len(frames))
	for _, e := range frames {
		end := uint64(e.Offset) + uint64(e.Size)
		if end <= uint64(len(a.bytes)) {
			if !a.given {
				a.given, a.earliest, a.final = true, e.Timecode, e.Timecode
			}
			a.earliest, a.final = min(a.earliest, e.Timecode), max(a.final, e.Timecode)
			out = append(out, LiveFrame{Entry: e, Data: a.bytes[e.Offset:end:end]})
		}
	}
	return out
}
