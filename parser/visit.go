package parser

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/fragment"
	"github.com/sluicevideo/sluice/mkv"
	"github.com/sluicevideo/sluice/mkv/ebml"
)

// Visitor consumes elements. ErrDone says that it wants no more; any other
// error ends the pass. What the element points to is valid during the call.
type Visitor interface {
	Visit(ctx context.Context, e Element) error
}

// Finisher is what a Visitor may also be: Finish is called when the input has
// ended properly.
type Finisher interface {
	Finish(ctx context.Context) error
}

// ErrDone is returned by a Visitor that wants no more elements.
var ErrDone = errors.New("done")

// Visit hands each element to each visitor, in order, in one pass over the
// source, until the source ends or every visitor is done.
// (CompositeMkvElementVisitor, and StreamingMkvReader.apply.)
func (r *Reader) Visit(ctx context.Context, visitors ...Visitor) error {
	active := slices.Clone(visitors)
	for e, err := range r.Elements(ctx) {
		if err != nil {
			return err
		}
		for i := 0; i < len(active); i++ {
			switch err := active[i].Visit(ctx, e); {
			case errors.Is(err, ErrDone):
				active = slices.Delete(active, i, i+1)
				i--
			case err != nil:
				return err
			}
		}
		if len(active) == 0 {
			return nil
		}
	}
	for _, v := range active {
		if f, ok := v.(Finisher); ok {
			if err := f.Finish(ctx); err != nil && !errors.Is(err, ErrDone) {
				return err
			}
		}
	}
	return nil
}

// VisitorFunc is a function as a Visitor.
type VisitorFunc func(ctx context.Context, e Element) error

// Visit calls f.
func (f VisitorFunc) Visit(ctx context.Context, e Element) error { return f(ctx, e) }

// Only passes on the elements that have one of ids.
func Only(v Visitor, ids ...ebml.ID) Visitor {
	return VisitorFunc(func(ctx context.Context, e Element) error {
		if !slices.Contains(ids, e.ID) {
			return nil
		}
		return v.Visit(ctx, e)
	})
}

// FrameFunc is called for each frame. (FrameVisitor with a FrameProcessor.)
type FrameFunc func(ctx context.Context, f Frame) error

// Visit calls f for the frames that e completes.
func (f FrameFunc) Visit(ctx context.Context, e Element) error {
	for _, x := range frames(e) {
		if err := f(ctx, x); err != nil {
			return err
		}
	}
	return nil
}

// TagFunc is called for each tag, the service's too, when its Tags element is
// complete. (MkvTagProcessor.)
type TagFunc func(ctx context.Context, c *fragment.Chunk, t sluice.Tag) error

// Visit calls f for the tags that e completes.
func (f TagFunc) Visit(ctx context.Context, e Element) error {
	for i := range e.Tags {
		if err := f(ctx, e.Chunk, e.Tags[i].Tag); err != nil {
			return err
		}
	}
	return nil
}

// Chunks calls Started when a chunk's Cluster begins (number, times and tracks
// are known then), and Ended when all of it has been read. Either may be nil.
// (FragmentMetadataVisitor.)
type Chunks struct {
	Started func(ctx context.Context, c *fragment.Chunk) error
	Ended   func(ctx context.Context, c *fragment.Chunk) error

	open *fragment.Chunk
}

// Visit follows the chunks.
func (v *Chunks) Visit(ctx context.Context, e Element) error {
	switch {
	case e.Kind == mkv.Start && e.ID == ebml.IDHeader:
		err := v.Finish(ctx)
		v.open = e.Chunk
		return err
	case e.Kind == mkv.Start && e.ID == mkv.IDCluster && e.Chunk.Clusters == 1 && v.Started != nil:
		return v.Started(ctx, e.Chunk)
	case e.Kind == mkv.End && e.ID == mkv.IDTags && e.Chunk.Complete:
		return v.Finish(ctx)
	}
	return nil
}

// Finish ends the chunk that is open.
func (v *Chunks) Finish(ctx context.Context) error {
	c := v.open
	v.open = nil
	if c == nil || v.Ended == nil {
		return nil
	}
	return v.Ended(ctx, c)
}

// Count counts the elements of each id: masters by their starts. (CountVisitor.)
type Count map[ebml.ID]int

// Visit counts e.
func (c Count) Visit(_ context.Context, e Element) error {
	if e.Kind == mkv.Start || e.Kind == mkv.Data && e.First {
		c[e.ID]++
	}
	return nil
}

// Sizes writes a line "offset,header size,data size,name" for each element, in
// the order of their offsets; an unknown size is -1. (ElementSizeAndOffsetVisitor.)
func Sizes(w io.Writer) Visitor {
	return VisitorFunc(func(_ context.Context, e Element) error {
		if e.Kind == mkv.End || !e.First && e.Kind == mkv.Data {
			return nil
		}
		_, err := fmt.Fprintf(w, "%d,%d,%d,%s\n", e.Offset, e.Header, e.Size, e.Name())
		return err
	})
}
