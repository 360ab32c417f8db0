package mkv

import (
	"errors"
	"io"
	"math"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/mkv/ebml"
)

// Demuxer is an incremental Matroska reader: Feed, then Next until ErrMore.
//
// The input may hold several documents in a row, as the output of GetMedia
// does: an EBML header after the first ends the document before it, and the
// caller, who sees its Start, decides what that means.
//
// A Demuxer is used by one goroutine at a time. After an error other than
// ErrMore it only repeats that error.
type Demuxer struct {
	o   Options
	err error

	// The window is what is parsed next. It is a part of what was fed, or, when
	// an element was cut by the end of a fed slice, the scratch buffer that
	// joins the two; rest is then what was fed and follows it.
	win       []byte
	off       int64 // of win[0]
	rest      []byte
	scratch   []byte
	inScratch bool
	closed    bool

	stack []open
	ev    Event

	left     int64 // bytes still to come of the element that is reported in pieces
	inPieces Event // that element

	documents int
	scale     uint64
	haveTime  bool  // the Cluster's Timestamp was read
	clusterNs int64 // it, in ns
	cluster   int64 // it, in ticks

	frames   []Frame
	sizes    []int // scratch of the lace parser
	group    blockGroup
	meta     meta
	tagPlace []int // indices into meta.tags of the SimpleTags that are open
}

// open is a master element that has begun and not ended.
type open struct {
	id     ebml.ID
	header int
	level  int
	size   int64
	offset int64
	limit  int64 // where it ends at the latest: its own end, or that of what it is in
}

// blockGroup is what has been read of the BlockGroup that is open.
type blockGroup struct {
	references  bool
	duration    uint64
	hasDuration bool
}

// NewDemuxer makes a demuxer that has been fed nothing.
func NewDemuxer(o Options) *Demuxer {
	o.defaults()
	return &Demuxer{o: o, scale: defaultScale, stack: make([]open, 0, 8)}
}

const defaultScale = 1_000_000 // ns: RFC 9559, TimestampScale

// Feed hands in the next bytes. The demuxer keeps no reference to p once Next
// has returned ErrMore. Feeding before that is allowed, and copies.
func (d *Demuxer) Feed(p []byte) {
	switch {
	case len(p) == 0:
	case len(d.win) == 0 && len(d.rest) == 0:
		d.win, d.inScratch = p, false
	case d.inScratch && len(d.rest) == 0:
		d.rest = p
	default:
		joined := make([]byte, 0, len(d.win)+len(d.rest)+len(p))
		joined = append(append(append(joined, d.win...), d.rest...), p...)
		d.win, d.rest, d.inScratch = joined, nil, false
	}
}

// Close says that no more bytes follow. Next then reports the Ends that are
// due, and io.EOF; or ErrTruncated when the input ends inside an element of
// known size.
func (d *Demuxer) Close() { d.closed = true }

// Offset is how many bytes have been reported.
func (d *Demuxer) Offset() int64 { return d.off }

// Documents is how many EBML headers have been met.
func (d *Demuxer) Documents() int { return d.documents }

// Tracks are the tracks of the document, complete at the End of Tracks. The
// slice belongs to the caller; the demuxer makes a new one for each document.
func (d *Demuxer) Tracks() []sluice.Track { return d.meta.tracks }

// Scale is the length of a tick, 1 ms unless Info says otherwise.
func (d *Demuxer) Scale() time.Duration { return time.Duration(d.scale) }

// ClusterTimestamp is the timestamp of the last Cluster, in ticks as sent;
// false when that Cluster's Timestamp has not been read yet.
func (d *Demuxer) ClusterTimestamp() (int64, bool) { return d.cluster, d.haveTime }

// Next reports the next event, ErrMore when it takes more bytes to know it,
// io.EOF at the end after Close, or an *Error.
func (d *Demuxer) Next() (*Event, error) {
	if d.err != nil {
		return nil, d.err
	}
	if d.left > 0 {
		return d.piece()
	}
	if n := len(d.stack); n > 0 && d.off == d.stack[n-1].limit {
		return d.end(), nil
	}
	if len(d.win) == 0 {
		if len(d.rest) == 0 {
			return d.drained()
		}
		d.win, d.rest, d.inScratch = d.rest, nil, false
	}
	h, err := ebml.ParseHeader(d.win)
	for err != nil {
		if !errors.Is(err, ebml.ErrShort) {
			return nil, d.fail(d.off, 0, err)
		}
		if !d.want(h.Len) {
			return d.short(0)
		}
		h, err = ebml.ParseHeader(d.win)
	}
	if d.documents == 0 && h.ID != ebml.IDHeader {
		return nil, d.fail(d.off, 0, ErrNoHeader)
	}

	limit := int64(math.MaxInt64)
	at := ebml.ID(0)
	if n := len(d.stack); n > 0 {
		limit, at = d.stack[n-1].limit, d.stack[n-1].id
	}
	// The hot path: one frame after the other.
	if h.ID == IDSimpleBlock && at == IDCluster {
		return d.block(h, limit)
	}
	e, known := schema[h.ID]
	if known && !childOf(h.ID, e.parent, at) {
		if d.closesOpen(e.parent) {
			return d.end(), nil
		}
		if structural(h.ID, e.parent) {
			return nil, d.fail(d.off, h.ID, ErrMisplaced)
		}
		e.typ = Opaque
	}
	if d.o.OpenSegment && h.ID == IDSegment {
		h.Size = ebml.UnknownSize
	}
	if h.Size == ebml.UnknownSize {
		if h.ID != IDSegment && h.ID != IDCluster {
			return nil, d.fail(d.off, h.ID, ErrUnknownSize)
		}
	} else if h.Size > limit-d.off-int64(h.Len) {
		return nil, d.fail(d.off, h.ID, ErrOverrun)
	}
	if d.o.Shallow && passedOver(h.ID) {
		e.typ = Opaque
	}
	switch e.typ {
	case Master:
		return d.start(h, limit)
	case Opaque:
		return d.opaque(h)
	case block:
		return d.block(h, limit)
	}
	return d.value(h, e.typ)
}

func passedOver(id ebml.ID) bool {
	return id == IDSeekHead || id == IDCues || id == IDChapters || id == IDAttachments
}

// closesOpen says whether the innermost element is of unknown size and ends
// here, because an element with this schema parent can stand in one around it
// (RFC 8794, Unknown Data Size).
func (d *Demuxer) closesOpen(parent ebml.ID) bool {
	for i := len(d.stack) - 1; i >= 0 && d.stack[i].size == ebml.UnknownSize; i-- {
		around := ebml.ID(0)
		if i > 0 {
			around = d.stack[i-1].id
		}
		if around == parent {
			return true
		}
	}
	return false
}

// want makes the window hold at least n bytes, if they have arrived.
func (d *Demuxer) want(n int) bool {
	if len(d.win) >= n {
		return true
	}
	if !d.inScratch {
		d.scratch = append(d.scratch[:0], d.win...)
		d.inScratch = true
	} else {
		d.scratch = d.scratch[:copy(d.scratch[:cap(d.scratch)], d.win)]
	}
	take := min(n-len(d.scratch), len(d.rest))
	d.scratch = append(d.scratch, d.rest[:take]...)
	d.rest = d.rest[take:]
	d.win = d.scratch
	return len(d.win) >= n
}

// short is the answer when want has failed.
func (d *Demuxer) short(id ebml.ID) (*Event, error) {
	if d.closed {
		return nil, d.fail(d.off, id, ErrTruncated)
	}
	return nil, ErrMore
}

// drained is the answer when all bytes have been reported.
func (d *Demuxer) drained() (*Event, error) {
	d.win, d.rest = nil, nil // not even an empty slice keeps what was fed alive
	if !d.closed {
		return nil, ErrMore
	}
	n := len(d.stack)
	if n == 0 {
		d.err = io.EOF
		return nil, d.err
	}
	if top := &d.stack[n-1]; top.limit != math.MaxInt64 {
		return nil, d.fail(top.offset, 0, ErrTruncated)
	}
	return d.end(), nil
}

func (d *Demuxer) take(n int) []byte {
	b := d.win[:n:n]
	d.win = d.win[n:]
	d.off += int64(n)
	return b
}

// begin fills the event with what is the same in all.
func (d *Demuxer) begin(k Kind, h ebml.Header) *Event {
	d.ev = Event{Kind: k, ID: h.ID, Offset: d.off, Header: h.Len, Size: h.Size, Level: len(d.stack)}
	return &d.ev
}

func (d *Demuxer) start(h ebml.Header, limit int64) (*Event, error) {
	if len(d.stack) >= d.o.MaxDepth {
		return nil, d.fail(d.off, h.ID, ErrDepth)
	}
	if h.ID == IDBlockGroup {
		if h.Size > d.o.MaxFrame {
			return nil, d.fail(d.off, h.ID, ErrFrameSize)
		}
		// The frames of a group are known at its end, and point into it: it has
		// to be in one piece.
		if !d.o.SplitFrames && !d.want(h.Len+int(h.Size)) {
			return d.short(h.ID)
		}
	}
	if err := d.entering(h.ID); err != nil {
		return nil, d.fail(d.off, h.ID, err)
	}
	ev := d.begin(Start, h)
	if h.Size != ebml.UnknownSize {
		limit = d.off + int64(h.Len) + h.Size
	}
	d.stack = append(d.stack, open{id: h.ID, header: h.Len, level: ev.Level, size: h.Size, offset: d.off, limit: limit})
	ev.Raw = d.take(h.Len)
	return ev, nil
}

// end reports the end of the innermost element.
func (d *Demuxer) end() *Event {
	top := d.stack[len(d.stack)-1]
	d.stack = d.stack[:len(d.stack)-1]
	d.ev = Event{Kind: End, ID: top.id, Offset: top.offset, Header: top.header, Size: top.size, Level: top.level}
	switch top.id {
	case IDBlockGroup:
		d.endGroup()
		d.ev.Frames = d.frames
	case IDTags:
		d.ev.Tags = d.meta.tags
	case IDCluster:
		d.haveTime = false
	default:
		d.leaving(top.id)
	}
	return &d.ev
}

// opaque begins to report an element in pieces.
func (d *Demuxer) opaque(h ebml.Header) (*Event, error) {
	if !d.want(h.Len) {
		return d.short(h.ID)
	}
	ev := d.begin(Data, h)
	ev.First = true
	d.left = int64(h.Len) + h.Size
	d.inPieces = *ev
	return d.piece()
}

// piece reports what has arrived of the element that is in pieces.
func (d *Demuxer) piece() (*Event, error) {
	if len(d.win) == 0 {
		if len(d.rest) == 0 {
			if d.closed {
				return nil, d.fail(d.inPieces.Offset, d.inPieces.ID, ErrTruncated)
			}
			return nil, ErrMore
		}
		d.win, d.rest, d.inScratch = d.rest, nil, false
	}
	n := min(int64(len(d.win)), d.left)
	d.left -= n
	d.ev = d.inPieces
	d.inPieces.First = false
	d.ev.Raw = d.take(int(n))
	if d.left == 0 {
		d.ev.Last = true
		if d.ev.ID == IDSimpleBlock {
			d.ev.Frames = d.frames
		}
	}
	return &d.ev, nil
}

// value reports a whole element and takes in what it says.
func (d *Demuxer) value(h ebml.Header, t Type) (*Event, error) {
	max, over := d.o.MaxElement, ErrElementSize
	switch t {
	case Uint, Int, Float, Date:
		max, over = 8, ebml.ErrValue
	default:
		switch h.ID {
		case IDCodecPrivate:
			max = d.o.MaxCodecPrivate
		case IDTagName, IDTagString:
			max, over = d.o.MaxTagSize, ErrTagSize
		}
	}
	if h.Size > max {
		return nil, d.fail(d.off, h.ID, over)
	}
	if !d.want(h.Len + int(h.Size)) {
		return d.short(h.ID)
	}
	if err := d.learn(h.ID, t, d.win[h.Len:h.Len+int(h.Size)]); err != nil {
		return nil, d.fail(d.off, h.ID, err)
	}
	ev := d.begin(Data, h)
	ev.First, ev.Last = true, true
	ev.Raw = d.take(h.Len + int(h.Size))
	return ev, nil
}
