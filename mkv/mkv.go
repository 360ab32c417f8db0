// Package mkv reads and writes Matroska (RFC 9559): elements, tracks, clusters,
// blocks, laces and tags.
//
// Demuxer is fed bytes as they arrive and reports what they mean at once: where
// elements start and end, and the frames inside blocks. It blocks nowhere, owns
// no goroutine, allocates nothing per frame, and never holds more than one
// element. The exact bytes of every element are reported too, so whoever joins
// the Raw bytes of all events has the input again.
//
// The Append functions write a live stream of the shape that the native Kinesis
// Video producers send; FileWriter writes a seekable file.
//
// The package knows nothing of Kinesis Video Streams; package fragment does.
package mkv

import (
	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/mkv/ebml"
)

// Options bounds what a Demuxer takes, and says how it reports. The zero value
// is good for files and for the reading side.
type Options struct {
	MaxDepth        int   // nesting of elements; default 16
	MaxFrame        int64 // bytes of a block or block group; default 64 MiB
	MaxElement      int64 // bytes of any other element that is reported whole; default 1 MiB
	MaxCodecPrivate int64 // bytes; default 256 KiB
	MaxTracks       int   // default 128
	MaxTags         int   // SimpleTags in one Tags element; default 1024
	MaxTagSize      int64 // bytes of one TagName or TagString; default 64 KiB
	MaxLaces        int   // frames in one block; default 256, which is also what the format can say

	// SplitFrames reports blocks in pieces, as their bytes arrive, instead of
	// putting a block that was fed in pieces together again. Frames then have
	// no Data, only their place and size.
	SplitFrames bool
	// Shallow passes over the inside of SeekHead, Cues, Chapters and
	// Attachments: each is reported like one opaque element.
	Shallow bool
	// OpenSegment takes every Segment as one of unknown size, whatever it says:
	// for live input, where the size of a file that is sent on means nothing.
	OpenSegment bool
}

func (o *Options) defaults() {
	set(&o.MaxDepth, 16)
	set(&o.MaxFrame, 64<<20)
	set(&o.MaxElement, 1<<20)
	set(&o.MaxCodecPrivate, 256<<10)
	set(&o.MaxTracks, 128)
	set(&o.MaxTags, 1024)
	set(&o.MaxTagSize, 64<<10)
	set(&o.MaxLaces, 256)
}

func set[T int | int64](v *T, def T) {
	if *v <= 0 {
		*v = def
	}
}

// Kind says what an Event reports.
type Kind uint8

const (
	Start Kind = iota + 1 // a master element begins; Raw is its header
	Data                  // bytes of an element that holds no elements; Raw
	End                   // a master element has ended; Raw is empty
)

func (k Kind) String() string {
	switch k {
	case Start:
		return "start"
	case Data:
		return "data"
	case End:
		return "end"
	}
	return "none"
}

// Event is one report of a Demuxer. It and everything it points to are valid
// until the next call of Next or Feed; what of Raw was whole in one fed slice
// aliases that slice.
type Event struct {
	Kind   Kind
	ID     ebml.ID
	Offset int64 // of the element's first byte, counted from the first byte fed
	Header int   // bytes of its id and size
	Size   int64 // of its data; ebml.UnknownSize
	Level  int   // how many elements it is in

	// Raw is the input, verbatim. A Data event of an element that is reported
	// whole has its header and data and both First and Last; opaque elements
	// (and with SplitFrames blocks) come as they arrive, the header with the
	// First piece.
	Raw         []byte
	First, Last bool

	// Frames are the frames of a SimpleBlock, with its Last piece, or of a
	// BlockGroup, with its End.
	Frames []Frame
	// Tags are the tags of a Tags element, with its End, in document order.
	Tags []Tag
}

// Payload is an element's data, for Data events that are First and Last.
func (e *Event) Payload() []byte { return e.Raw[e.Header:] }

// EndOffset is the offset behind the element; -1 while it is not known.
func (e *Event) EndOffset() int64 {
	if e.Size == ebml.UnknownSize {
		return -1
	}
	return e.Offset + int64(e.Header) + e.Size
}

// Frame is a coded frame with its place in the input. Timecode and Duration
// are in time, (Cluster + block) ticks times the TimestampScale. Data aliases
// Raw; it is nil with SplitFrames.
type Frame struct {
	sluice.Frame
	Offset int64 // of the payload's first byte, counted from the first byte fed
	Size   int
}

// Tag is a SimpleTag. Targeted says that its Tag names tracks, editions,
// chapters or attachments, so it does not speak of the whole.
type Tag struct {
	sluice.Tag
	Targeted bool
}
