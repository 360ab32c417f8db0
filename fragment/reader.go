package fragment

import (
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/mkv"
	"github.com/sluicevideo/sluice/mkv/ebml"
)

// Options bounds a Reader. The zero value takes what the service's limits allow.
type Options struct {
	MaxHeader   int64 // bytes before the first Cluster, and between a fragment's end and the next Cluster; default 1 MiB
	MaxFragment int64 // bytes from a Cluster to the end of the fragment; default 50 MiB, at most 4 GiB - 1
	MaxTags     int   // metadata tags a fragment; default 10
	// MKV bounds the elements. Its modes are the Reader's own business.
	MKV mkv.Options
}

// Kind says what an Event reports.
type Kind uint8

const (
	// HeaderComplete: the first Cluster begins; Header.
	HeaderComplete Kind = iota + 1
	// Begin: a fragment has begun and its Cluster's Timestamp has been read;
	// Timecode, Lead, Tags.
	Begin
	// Elements: the next bytes of the fragment; Bytes, Frames, Tags, Partial.
	Elements
	// End: the fragment is complete; Explicit.
	End
)

// Event is one report of a Reader. Everything it points to may be kept: it is
// never written to again, provided that the caller does not reuse fed slices.
type Event struct {
	Kind   Kind
	Header *Header

	Timecode int64 // the Cluster's, in ticks, exactly as sent
	// Lead is what stood between an END_OF_FRAGMENT tag and this Cluster: it
	// goes in front of the Cluster, in this fragment's chunk only. Mostly nil.
	Lead []byte

	// Bytes continue the fragment, verbatim, always up to the end of a whole
	// element of the Cluster or beside it, so that what was handed out can be
	// sent on and stays well formed. When that is not in one piece in memory,
	// because it was not fed in one, Partial says that the next event is an
	// Elements that continues it. Frames, with the last piece, are those whose
	// blocks are complete now.
	Bytes   []byte
	Partial bool
	Frames  []Entry
	// Tags are the tags in what is reported: with Begin those of Lead or, for
	// the first fragment, of the header's Tags before Tracks; with Elements
	// those in Bytes. The service's event tags are among them.
	Tags []sluice.Tag

	// Explicit: the fragment ended with an END_OF_FRAGMENT tag, whose Tags
	// element is its last. Otherwise it ended because something else began, or
	// the input ended.
	Explicit bool
}

// Reader cuts the body of a PutMedia call into fragments, as it arrives.
//
// Feed it, call Next until ErrMore, and so on; when the body has come to its
// proper end, Close it and call Next until io.EOF. A body that breaks off is
// not closed: its open fragment has no End. A Reader is used by one goroutine
// at a time and, after an error other than ErrMore, only repeats that error.
type Reader struct {
	o   Options
	d   *mkv.Demuxer
	err error

	// Fed bytes that have not been handed out; they start at offset out.
	held  [][]byte
	out   int64
	owned bool // the last of held is the Reader's own buffer

	// Before the first Cluster.
	header                *Header
	segment               bool
	segmentAt, segmentEnd int64 // the Segment's id and size
	tracksAt              int64 // 0: not met
	headerTags            []region

	inFragment bool // from the Cluster's first byte to the fragment's end
	inCluster  bool
	begun      bool  // Begin has been reported
	base       int64 // offset of the Cluster's id
	done       int64 // of the fragment, what ends here or before is complete
	frames     []Entry
	tags       []sluice.Tag // to be reported; before the first Cluster those of the header
	count      int          // metadata tags of the fragment
	lead       []byte
	leadTags   []sluice.Tag // of lead, or of the header for the first fragment

	queue []Event
	next  int
}

type region struct{ start, end int64 }

// NewReader makes a Reader for one session.
func NewReader(o Options) *Reader {
	if o.MaxHeader <= 0 {
		o.MaxHeader = 1 << 20
	}
	if o.MaxFragment <= 0 {
		o.MaxFragment = 50 << 20
	}
	o.MaxFragment = min(o.MaxFragment, math.MaxUint32)
	if o.MaxTags <= 0 {
		o.MaxTags = MaxTags
	}
	o.MKV.SplitFrames, o.MKV.Shallow, o.MKV.OpenSegment = true, true, true
	if o.MKV.MaxFrame <= 0 {
		o.MKV.MaxFrame = o.MaxFragment
	}
	return &Reader{o: o, d: mkv.NewDemuxer(o.MKV)}
}

// Feed hands in the next bytes of the body. The Reader and its events keep p.
func (r *Reader) Feed(p []byte) {
	if len(p) == 0 {
		return
	}
	r.d.Feed(p)
	if n := len(r.held); n > 0 {
		last := r.held[n-1]
		switch {
		case cap(last)-len(last) >= len(p) && !r.owned && &last[:len(last)+1][len(last)] == &p[0]:
			// p lies right behind the last piece in the same array, as it does
			// when a caller reads a large buffer full bit by bit.
			r.held[n-1] = last[:len(last)+len(p)]
			return
		case len(last)+len(p) <= 4<<10:
			// Small pieces are joined: a slice header for each would be more
			// than they are.
			if !r.owned {
				last = slices.Clone(last)
			}
			r.held[n-1] = append(last, p...)
			r.owned = true
			return
		}
	}
	r.held = append(r.held, p)
	r.owned = false
}

// Close says that the body has ended as it should. Next then reports what ends
// with it, and io.EOF.
func (r *Reader) Close() { r.d.Close() }

// Next reports the next event, ErrMore when all that was fed is reported,
// io.EOF after Close, or an *mkv.Error that ends the session.
func (r *Reader) Next() (Event, error) {
	for {
		if r.next < len(r.queue) {
			ev := r.queue[r.next]
			r.queue[r.next] = Event{} // the queue keeps no media alive
			r.next++
			return ev, nil
		}
		r.queue, r.next = r.queue[:0], 0
		if r.err != nil {
			return Event{}, r.err
		}
		ev, err := r.d.Next()
		switch {
		case err == nil:
			err = r.take(ev)
			if err == nil {
				continue
			}
			err = &mkv.Error{Offset: ev.Offset, Path: mkv.Name(ev.ID), Err: err}
		case errors.Is(err, ErrMore):
			r.flush()
			if len(r.queue) > 0 {
				continue
			}
			return Event{}, ErrMore
		case errors.Is(err, io.EOF) && r.inFragment && !r.begun:
			err = &mkv.Error{Offset: r.base, Path: "Segment/Cluster", Err: ErrNoTimestamp}
		case errors.Is(err, io.EOF):
			r.end(false)
		case errors.Is(err, mkv.ErrFrameSize):
			var at *mkv.Error
			errors.As(err, &at)
			err = &mkv.Error{Offset: at.Offset, Path: at.Path, Err: fmt.Errorf("%w: %w", ErrFragmentSize, at.Err)}
		}
		r.flush()
		r.err = err
	}
}

// take takes in one event of the demuxer.
func (r *Reader) take(ev *mkv.Event) error {
	if ev.Level == 0 && ev.Kind == mkv.Start && r.again(ev.ID) {
		r.end(false)
		return ErrSecondHeader
	}
	if ev.ID == mkv.IDCluster && ev.Level == 1 {
		if ev.Kind == mkv.Start {
			return r.cluster(ev)
		}
		r.inCluster = false
		if !r.begun {
			return ErrNoTimestamp
		}
		return nil
	}
	if r.inFragment {
		if r.d.Offset()-r.base > r.o.MaxFragment {
			return ErrFragmentSize
		}
	} else if r.d.Offset()-r.out > r.o.MaxHeader {
		return ErrHeaderSize
	}
	complete := ev.Kind == mkv.End || ev.Kind == mkv.Data && ev.Last
	switch {
	case r.header == nil:
		return r.before(ev, complete)
	case complete && r.inCluster && ev.Level == 2:
		if ev.ID == mkv.IDTimestamp && !r.begun {
			r.begin()
		}
		if r.begun {
			r.done = r.d.Offset()
			return r.note(ev.Frames)
		}
	case complete && ev.Level == 1:
		return r.beside(ev)
	}
	return nil
}

// again says whether a document or Segment begins that is not the first.
func (r *Reader) again(id ebml.ID) bool {
	if id == ebml.IDHeader {
		return r.d.Documents() > 1
	}
	return id == mkv.IDSegment && r.segment
}

// before takes in what stands before the first Cluster.
func (r *Reader) before(ev *mkv.Event, complete bool) error {
	if ev.ID == mkv.IDSegment && ev.Kind == mkv.Start {
		r.segment = true
		r.segmentAt, r.segmentEnd = ev.Offset, r.d.Offset()
	}
	if !complete || ev.Level != 1 {
		return nil
	}
	switch ev.ID {
	case mkv.IDTracks:
		r.tracksAt = ev.Offset
	case mkv.IDTags:
		r.headerTags = append(r.headerTags, region{ev.Offset, r.d.Offset()})
		for i := range ev.Tags {
			r.tags = append(r.tags, ev.Tags[i].Tag)
		}
		if r.tracksAt == 0 { // the native producer's place for the first fragment's metadata
			tags, _, err := r.metadata(ev.Tags)
			r.leadTags = append(r.leadTags, tags...)
			return err
		}
	}
	return nil
}

// cluster begins a fragment.
func (r *Reader) cluster(ev *mkv.Event) error {
	switch {
	case r.header == nil:
		if len(r.d.Tracks()) == 0 {
			return ErrNoTracks
		}
		r.header = r.makeHeader(r.cut(ev.Offset))
		r.tags = nil
		r.queue = append(r.queue, Event{Kind: HeaderComplete, Header: r.header})
	case r.inFragment:
		r.end(false)
	case ev.Offset > r.out:
		r.lead = r.cut(ev.Offset)
	}
	if ev.Size > r.o.MaxFragment {
		return ErrFragmentSize
	}
	r.inFragment, r.inCluster, r.begun = true, true, false
	r.base, r.done = ev.Offset, ev.Offset
	return nil
}

// makeHeader makes the leading bytes of the session's chunks from the bytes
// before the first Cluster (see Header).
func (r *Reader) makeHeader(b []byte) *Header {
	h := &Header{Tracks: r.d.Tracks(), Scale: r.d.Scale(), Tags: r.tags}
	start := ebml.AppendHeader(slices.Clone(b[:r.segmentAt]), mkv.IDSegment, ebml.UnknownSize, 8)
	h.First = append(slices.Clip(start), b[r.segmentEnd:]...)
	h.Rest = slices.Clip(start)
	at := r.segmentEnd
	for _, t := range r.headerTags {
		if t.start < r.tracksAt {
			h.Rest = append(h.Rest, b[at:t.start]...)
			at = t.end
		}
	}
	h.Rest = append(h.Rest, b[at:]...)
	return h
}

// begin reports the fragment whose Timestamp has been read.
func (r *Reader) begin() {
	ticks, _ := r.d.ClusterTimestamp()
	r.queue = append(r.queue, Event{Kind: Begin, Timecode: ticks, Lead: r.lead, Tags: r.leadTags})
	r.begun, r.lead, r.leadTags = true, nil, nil
}

// note keeps the frames of a complete block for the next Elements.
func (r *Reader) note(frames []mkv.Frame) error {
	for i := range frames {
		f := &frames[i]
		if f.Track > math.MaxUint32 {
			return mkv.ErrBlock
		}
		if cap(r.frames) == 0 {
			// A slab for many events: each gets its own part of it.
			r.frames = make([]Entry, 0, 64)
		}
		r.frames = append(r.frames, Entry{
			Offset: uint32(f.Offset - r.base), Size: uint32(f.Size), Track: uint32(f.Track),
			Key: f.Key, Discardable: f.Discardable, Invisible: f.Invisible,
			Timecode: f.Timecode, Duration: f.Duration,
		})
	}
	return nil
}

// beside takes in a complete element that stands beside the Clusters.
func (r *Reader) beside(ev *mkv.Event) error {
	tags, explicit, err := r.metadata(ev.Tags)
	if err != nil {
		return err
	}
	if !r.inFragment {
		r.leadTags = append(r.leadTags, tags...)
		return nil
	}
	r.done = r.d.Offset()
	r.tags = append(r.tags, tags...)
	if explicit {
		r.end(true)
	}
	return nil
}

// metadata picks what speaks of the fragment from the tags of one Tags element
// and holds it to the limits.
func (r *Reader) metadata(in []mkv.Tag) (tags []sluice.Tag, endOfFragment bool, err error) {
	for _, t := range in {
		if t.Targeted {
			continue
		}
		tags = append(tags, t.Tag)
		if strings.HasPrefix(t.Name, servicePrefix) {
			endOfFragment = endOfFragment || t.Name == TagEndOfFragment
			continue
		}
		r.count++
		switch {
		case r.count > r.o.MaxTags:
			return nil, false, fmt.Errorf("%w: more than %d tags", ErrTagLimit, r.o.MaxTags)
		case len(t.Name) > MaxTagName:
			return nil, false, fmt.Errorf("%w: a name of %d bytes, at most %d", ErrTagLimit, len(t.Name), MaxTagName)
		case len(t.Value) > MaxTagValue:
			return nil, false, fmt.Errorf("%w: a value of %d bytes, at most %d", ErrTagLimit, len(t.Value), MaxTagValue)
		}
	}
	return tags, endOfFragment, nil
}

// end reports the end of the fragment that is open, if one is.
func (r *Reader) end(explicit bool) {
	if !r.inFragment {
		return
	}
	r.flush()
	if r.begun {
		r.queue = append(r.queue, Event{Kind: End, Explicit: explicit})
	}
	r.inFragment, r.inCluster, r.begun, r.count = false, false, false, 0
}

// flush reports what is complete.
func (r *Reader) flush() {
	if !r.begun || r.done == r.out {
		return
	}
	for r.out < r.done {
		b := r.pop(r.done)
		r.queue = append(r.queue, Event{Kind: Elements, Bytes: b, Partial: r.out < r.done})
	}
	last := &r.queue[len(r.queue)-1]
	last.Tags, r.tags = r.tags, nil
	if len(r.frames) > 0 {
		last.Frames = slices.Clip(r.frames)
		r.frames = r.frames[len(r.frames):]
	}
}

// pop takes the next of the held bytes, at most up to offset to.
func (r *Reader) pop(to int64) []byte {
	b := r.held[0]
	if n := to - r.out; n < int64(len(b)) {
		r.held[0] = b[n:]
		b = b[:n:n]
	} else {
		r.held = slices.Delete(r.held, 0, 1)
	}
	r.out += int64(len(b))
	return slices.Clip(b)
}

// cut takes the held bytes up to offset to, as a copy in one piece.
func (r *Reader) cut(to int64) []byte {
	b := make([]byte, 0, to-r.out)
	for r.out < to {
		b = append(b, r.pop(to)...)
	}
	return b
}
