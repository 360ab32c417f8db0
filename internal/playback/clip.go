package playback

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/catalog"
	"github.com/sluicevideo/sluice/internal/codec"
	"github.com/sluicevideo/sluice/internal/limits"
	"github.com/sluicevideo/sluice/internal/mux"
	"github.com/sluicevideo/sluice/internal/mux/fmp4"
	"github.com/sluicevideo/sluice/internal/store"
)

// ClipRequest is what GetClip asks for.
type ClipRequest struct {
	Stream   catalog.Stream
	Selector string // FragmentSelectorType
	From, To time.Time
}

// Clip is a progressive MP4 on its way out: its index is known, its media is read
// while it is sent.
type Clip struct {
	p       *Playback
	id      sluice.StreamID
	sel     *selection
	clock   sluice.Clock
	entries []store.Entry
	sizes   [][][]uint32 // of the samples, by entry and track
	first   *Fragment    // read already
	head    []byte
	// Size is the whole file's.
	Size int64
}

const clipName = "ClipFragmentSelector"

// Clip prepares the file for a time range: the first fragments of it, as many as
// the limits allow. Failures are *sluice.Error; media is checked only as far as
// it had to be read.
//
// Fragments follow each other without gaps: what lies between them by the clock
// is left out beyond 50 ms, so nobody watches a frozen picture for an hour.
func (p *Playback) Clip(ctx context.Context, r *ClipRequest) (*Clip, error) {
	clock, err := pick(clipName+".FragmentSelectorType", r.Selector, []string{"SERVER_TIMESTAMP", "PRODUCER_TIMESTAMP"}, sluice.ServerClock, sluice.ProducerClock)
	if err != nil {
		return nil, err
	}
	if err := checkRange(clipName, clock, r.From, r.To, 0, p.o.Now()); err != nil {
		return nil, err
	}
	if r.Stream.Retention == 0 {
		return nil, &sluice.Error{Code: sluice.NoDataRetention, Msg: "GetClip: stream " + r.Stream.Name + " retains no data (DataRetentionInHours is 0)"}
	}
	rules := p.o.Limits.Rules()
	most := rules.ClipFragments
	if most == 0 {
		most = maxRange
	}
	list, err := p.selectRange(ctx, r.Stream.ID, clock, r.From, r.To, rules.PlaybackGuide, most)
	if err != nil {
		return nil, err
	}
	var total int64
	for i := range list {
		if total += int64(list[i].Bytes); rules.ClipBytes > 0 && total > rules.ClipBytes && i > 0 {
			list = list[:i]
			break
		}
	}
	key := limits.Key{Operation: "GetClip", Stream: r.Stream.Name}
	if err := errors.Join(p.o.Limits.Take(limits.MetadataPoints, key, len(list)), p.o.Limits.Take(limits.MediaPoints, key, len(list))); err != nil {
		return nil, err
	}
	c := &Clip{p: p, id: r.Stream.ID, clock: clock, entries: list}
	if err := c.layOut(ctx); err != nil {
		return nil, err
	}
	if c.sel == nil {
		return nil, notFound("GetClip: stream " + r.Stream.Name + " has no fragments in the requested time range")
	}
	return c, nil
}

// layOut goes over the indexes of all fragments and writes the file's own.
func (c *Clip) layOut(ctx context.Context) error {
	var file *fmp4.File
	var print uint64
	var convert bool
	var origin, end, out time.Duration // media times: of the first fragment, of the last one's end, and where that lies in the file
	kept := c.entries[:0]
	for _, e := range c.entries {
		f, err := c.p.o.Source.Fragment(ctx, c.id, e.Number, file == nil || convert)
		if errors.Is(err, ErrGone) {
			continue // expired meanwhile
		}
		if err != nil {
			return err
		}
		if file == nil {
			if c.sel, err = choose(f.Tracks, demands{operation: "GetClip", supports: fmp4.Supports}); err != nil {
				return err
			}
			print, c.first, convert = fingerprint(f.Tracks), f, c.converts(f)
			file = fmp4.NewFile(c.tracks()...)
		} else if fingerprint(f.Tracks) != print {
			return &sluice.Error{Code: sluice.InvalidCodecPrivateData,
				Msg: "GetClip: fragment " + f.Number.String() + ": its codec private data differs from that of the clip's first fragment"}
		}
		sh := shapeOf(f)
		start := time.Duration(f.start(c.clock).UnixNano()) + sh.offset
		switch gap := start - end; {
		case len(kept) == 0:
			origin = earliest(f, c.sel, start-sh.offset)
			out = start - origin
		case gap > discontinuityGap || gap < -discontinuityGap:
		default:
			out += gap
		}
		shift := out - start
		end, out = start+sh.duration, out+sh.duration
		sizes, err := c.add(file, f, shift, convert)
		if err != nil {
			return err
		}
		c.sizes = append(c.sizes, sizes)
		kept = append(kept, e)
	}
	c.entries = kept
	if file == nil {
		return nil
	}
	var err error
	c.head, c.Size, err = file.Head()
	return err
}

func (c *Clip) tracks() []fmp4.Track {
	var out []fmp4.Track
	for i, t := range c.sel.all() {
		out = append(out, fmp4.Track{ID: uint32(i) + 1, Params: t.params, Timescale: fmp4.TimescaleOf(t.params)})
	}
	return out
}

// earliest is the first presentation time of a fragment: sound may begin before
// the picture that the Cluster's time is of.
func earliest(f *Fragment, sel *selection, start time.Duration) time.Duration {
	first := start
	for i := range f.Index {
		if e := &f.Index[i]; sel.find(e.Track) != nil {
			first = min(first, start+e.Timecode-f.Timecode)
		}
	}
	return first
}

// converts reports whether frames take another form in the file than in the
// fragment, so that their sizes are known only from the media. Producers do not
// change that within a stream, so the first frames tell.
func (c *Clip) converts(f *Fragment) bool {
	for _, t := range c.sel.all() {
		for i := range f.Index {
			e := &f.Index[i]
			if e.Track != t.number {
				continue
			}
			data, err := payload(f, i)
			if err != nil {
				return true
			}
			if n, err := fmp4.Size(t.params, data); err != nil || n != len(data) {
				return true
			}
			break
		}
	}
	return false
}

func payload(f *Fragment, i int) ([]byte, error) {
	e := &f.Index[i]
	end := uint64(e.Offset) + uint64(e.Size)
	if end > uint64(len(f.Elements)) {
		return nil, fmt.Errorf("fragment %s: frame %d ends at %d of %d bytes", f.Number, i, end, len(f.Elements))
	}
	return f.Elements[e.Offset:end:end], nil
}

// add puts a fragment's frames into the file's index, shift later than they are
// by the clock.
func (c *Clip) add(file *fmp4.File, f *Fragment, shift time.Duration, convert bool) ([][]uint32, error) {
	base := time.Duration(f.start(c.clock).UnixNano()) - f.Timecode + shift
	var all [][]uint32
	for n, t := range c.sel.all() {
		var list []mux.Sample
		var sizes []uint32
		for i := range f.Index {
			e := &f.Index[i]
			if e.Track != t.number {
				continue
			}
			size := int(e.Size)
			if convert {
				data, err := payload(f, i)
				if err != nil {
					return nil, err
				}
				if size, err = fmp4.Size(t.params, data); err != nil {
					return nil, badFrame(f, err)
				}
			}
			list = append(list, mux.Sample{PTS: base + e.Timecode, Duration: e.Duration, Key: e.Key || t.params.Kind.Audio()})
			sizes = append(sizes, uint32(size))
		}
		schedule(list, t, time.Second)
		file.AddChunk(n, list, sizes)
		all = append(all, sizes)
	}
	return all, nil
}

// errLeft: the client does not take the file any more.
var errLeft = errors.New("the client has left")

// errChanged: a fragment's media is not what its index said it would be.
var errChanged = errors.New("frame does not have the size the clip's index says")

// WriteTo sends the file. It reads each fragment when its turn comes.
func (c *Clip) WriteTo(ctx context.Context, w io.Writer) error {
	if _, err := w.Write(c.head); err != nil {
		return fmt.Errorf("%w: %w", errLeft, err)
	}
	for i, e := range c.entries {
		f := c.first
		if i > 0 || f.Number != e.Number {
			var err error
			if f, err = c.p.o.Source.Fragment(ctx, c.id, e.Number, true); err != nil {
				return err
			}
		}
		c.first = nil
		if err := c.writeFragment(w, f, c.sizes[i]); err != nil {
			return err
		}
	}
	return nil
}

func (c *Clip) writeFragment(w io.Writer, f *Fragment, sizes [][]uint32) error {
	var pieces [][]byte
	for n, t := range c.sel.all() {
		at := 0
		for i := range f.Index {
			if f.Index[i].Track != t.number {
				continue
			}
			data, err := payload(f, i)
			if err != nil {
				return err
			}
			var size int
			if pieces, size, err = fmp4.AppendPayload(pieces, t.params, data); err != nil {
				return badFrame(f, err)
			}
			if at >= len(sizes[n]) || size != int(sizes[n][at]) {
				return badFrame(f, fmt.Errorf("track %d, frame %d: %w: %w", t.number, at, errChanged, codec.ErrInvalid))
			}
			at++
		}
	}
	for _, b := range pieces {
		if _, err := w.Write(b); err != nil {
			return fmt.Errorf("%w: %w", errLeft, err)
		}
	}
	return nil
}

// ServeHTTP answers GetClip with the file.
func (c *Clip) ServeHTTP(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Content-Type", "video/mp4")
	w.Header().Set("Content-Length", strconv.FormatInt(c.Size, 10))
	if err := c.WriteTo(r.Context(), w); err != nil && !errors.Is(err, errLeft) {
		return err
	}
	return nil
}
