// Package parser is for those who consume streams: it reads the output of
// GetMedia and GetMediaForFragmentList, or any Matroska, and hands out elements,
// frames and fragments with their metadata; it merges chunks into files; and it
// follows a stream over the network for as long as one wants.
//
// Reader works on an io.Reader, in one pass, in constant memory:
//
//	for f, err := range parser.NewReader(media).Frames(ctx) { ... }
//
// Several consumers share a pass through Visit. Follower, List and FetchList
// call the service, through package kvsapi, Sluice or AWS alike.
//
// It is the counterpart of the Kinesis Video Stream Parser Library for Java;
// what is what there is said at each type. It decodes no pictures.
package parser

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/fragment"
	"github.com/sluicevideo/sluice/mkv"
	"github.com/sluicevideo/sluice/mkv/ebml"
)

// Element is an element of the input: the start or end of a master, or the data
// of another, and the chunk it is in. What Event points to is valid until the
// next element; Chunk may be kept, and goes on being filled while its chunk is
// read.
type Element struct {
	*mkv.Event
	Chunk *fragment.Chunk
}

// Name is the element's name in RFC 9559.
func (e Element) Name() string { return mkv.Name(e.ID) }

// Options of a Reader. The zero value is good.
type Options struct {
	MKV         mkv.Options // bounds of the elements
	Buffer      int         // bytes asked from the source at a time; default 64 KiB
	MaxFragment int         // bytes of a chunk that Fragments holds; default 64 MiB
}

// Reader reads Matroska from a source, which it neither owns nor closes. It is
// used for one pass, with one of its methods. (StreamingMkvReader.)
type Reader struct {
	src io.Reader
	o   Options
}

// NewReader makes a reader of src. At most one Options counts.
func NewReader(src io.Reader, o ...Options) *Reader {
	r := &Reader{src: src}
	if len(o) > 0 {
		r.o = o[0]
	}
	if r.o.Buffer <= 0 {
		r.o.Buffer = 64 << 10
	}
	if r.o.MaxFragment <= 0 {
		r.o.MaxFragment = 64 << 20
	}
	return r
}

// Elements is every element as soon as its bytes have come. With ids it is only
// the elements that have one of them. The last pair may hold an error: one of
// the source, ctx's, an *mkv.Error for bytes that are not Matroska, among them
// mkv.ErrTruncated when the source ends inside an element.
//
// ctx is looked at between reads; it does not interrupt one.
func (r *Reader) Elements(ctx context.Context, ids ...ebml.ID) iter.Seq2[Element, error] {
	return func(yield func(Element, error) bool) {
		c := fragment.NewChunkReader(r.o.MKV)
		buf := make([]byte, r.o.Buffer)
		var ended error // what the source said last
		for {
			ev, err := c.Next()
			switch {
			case err == nil:
				if len(ids) > 0 && !slices.Contains(ids, ev.ID) {
					continue
				}
				if !yield(Element{ev, c.Chunk()}, nil) {
					return
				}
			case errors.Is(err, io.EOF):
				return
			case !errors.Is(err, fragment.ErrMore):
				yield(Element{}, err)
				return
			case errors.Is(ended, io.EOF):
				c.Close()
			case ended != nil:
				yield(Element{}, fmt.Errorf("source: %w", ended))
				return
			default:
				if err := ctx.Err(); err != nil {
					yield(Element{}, err)
					return
				}
				var n int
				n, ended = r.src.Read(buf)
				c.Feed(buf[:n])
			}
		}
	}
}

// Frame is a frame with what it belongs to. (FrameVisitor.)
type Frame struct {
	sluice.Frame                 // Data is valid until the next frame
	Offset       int64           // of the payload in the input
	Info         *sluice.Track   // nil: the header has no track of this number
	Chunk        *fragment.Chunk // its fragment's metadata
}

// Frames is every frame as soon as its block has come. Errors as of Elements.
func (r *Reader) Frames(ctx context.Context) iter.Seq2[Frame, error] {
	return func(yield func(Frame, error) bool) {
		for e, err := range r.Elements(ctx) {
			if err != nil {
				yield(Frame{}, err)
				return
			}
			for _, f := range frames(e) {
				if !yield(f, nil) {
					return
				}
			}
		}
	}
}

// frames are the frames that e completes.
func frames(e Element) []Frame {
	if len(e.Frames) == 0 {
		return nil
	}
	out := make([]Frame, len(e.Frames))
	for i := range e.Frames {
		f := &e.Frames[i]
		out[i] = Frame{Frame: f.Frame, Offset: f.Offset, Info: e.Chunk.Track(f.Track), Chunk: e.Chunk}
	}
	return out
}

// Fragment is a whole chunk: its metadata, its bytes and its frames. It owns
// them. (FragmentMetadataVisitor, for those who take fragments whole.)
type Fragment struct {
	*fragment.Chunk
	Bytes  []byte         // the chunk, verbatim, up to its trailing tags
	Frames []sluice.Frame // Data lies in Bytes
}

// Fragments is every chunk, when all of it has come: with GetMedia when its
// trailing tags have, else when the next one begins or the source ends. Errors
// as of Elements; the chunk in which one happens is not handed out.
//
// Complete is false for a chunk without trailing tags: all of
// GetMediaForFragmentList, and in GetMedia a fragment that the service has given
// up. A chunk with Err has no media. A file that no service has tagged is one
// Fragment.
func (r *Reader) Fragments(ctx context.Context) iter.Seq2[*Fragment, error] {
	return func(yield func(*Fragment, error) bool) {
		c := collector{max: r.o.MaxFragment}
		for e, err := range r.Elements(ctx) {
			if err != nil {
				yield(nil, err)
				return
			}
			f, err := c.take(e)
			if err != nil {
				yield(nil, err)
				return
			}
			if f != nil && !yield(f, nil) {
				return
			}
		}
		if f := c.finish(); f != nil {
			yield(f, nil)
		}
	}
}

// ErrFragmentSize means that a chunk is larger than Options.MaxFragment.
var ErrFragmentSize = errors.New("chunk is larger than the limit")

// collector makes whole fragments of elements.
type collector struct {
	max  int
	open *Fragment
	at   []placed
}

// placed is where in a fragment's bytes a frame's payload lies.
type placed struct{ start, end int }

// take returns the fragment that ends with, or before, e.
func (c *collector) take(e Element) (*Fragment, error) {
	var ended *Fragment
	if e.Kind == mkv.Start && e.ID == ebml.IDHeader {
		ended = c.finish()
		c.open = &Fragment{Chunk: e.Chunk}
	}
	f := c.open
	if f == nil { // after the trailing tags: filler
		return nil, nil
	}
	if len(f.Bytes)+len(e.Raw) > c.max {
		return nil, &mkv.Error{Offset: e.Chunk.Offset, Path: "EBML", Err: ErrFragmentSize}
	}
	f.Bytes = append(f.Bytes, e.Raw...)
	for i := range e.Event.Frames {
		x := &e.Event.Frames[i]
		start := int(x.Offset - e.Chunk.Offset)
		c.at = append(c.at, placed{start, start + x.Size})
		f.Frames = append(f.Frames, x.Frame)
	}
	if e.Kind == mkv.End && e.ID == mkv.IDTags && e.Chunk.Complete {
		return c.finish(), nil
	}
	return ended, nil
}

// finish is the open fragment, which is whole now.
func (c *collector) finish() *Fragment {
	f := c.open
	if f == nil {
		return nil
	}
	// The bytes have stopped moving: now frames can point to them.
	for i, p := range c.at {
		f.Frames[i].Data = f.Bytes[p.start:p.end:p.end]
	}
	c.open, c.at = nil, c.at[:0]
	return f
}
