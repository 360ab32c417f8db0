package mkv

import (
	"errors"
	"fmt"

	"github.com/sluicevideo/sluice/mkv/ebml"
)

// ErrMore is returned by Next when everything fed has been reported: feed more,
// or close.
var ErrMore = errors.New("mkv: more bytes are needed")

// What can be wrong with the bytes; each is wrapped in an *Error. Bad ids and
// sizes are ebml.ErrID and ebml.ErrSize.
var (
	ErrTruncated   = errors.New("the bytes end inside an element")
	ErrNoHeader    = errors.New("does not begin with an EBML header")
	ErrDocType     = errors.New("not a Matroska document this reader can read")
	ErrOverrun     = errors.New("element is longer than the element it is in")
	ErrUnknownSize = errors.New("only Segment and Cluster may have an unknown size")
	ErrMisplaced   = errors.New("element cannot stand here")
	ErrDepth       = errors.New("elements are nested too deeply")
	ErrElementSize = errors.New("element is larger than the limit")
	ErrFrameSize   = errors.New("block is larger than the limit")
	ErrBlock       = errors.New("block header is broken")
	ErrLacing      = errors.New("lace sizes do not add up to the block")
	ErrLaceCount   = errors.New("too many frames in a block")
	ErrTimestamp   = errors.New("timestamp out of range")
	ErrTrackCount  = errors.New("too many tracks")
	ErrTagCount    = errors.New("too many tags")
	ErrTagSize     = errors.New("tag is larger than the limit")
)

// Error is broken or refused input: what, and where.
type Error struct {
	Offset int64  // of the element's first byte, from the first byte fed
	Path   string // names from the outermost element to this one, as "Segment/Cluster/SimpleBlock"
	Err    error  // one of the sentinels, perhaps with detail
}

func (e *Error) Error() string {
	return fmt.Sprintf("matroska: %s at byte %d: %v", e.Path, e.Offset, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// fail makes err, met at the element id that starts at offset, the end of this
// demuxer.
func (d *Demuxer) fail(offset int64, id ebml.ID, err error) error {
	path := ""
	for i := range d.stack {
		path += Name(d.stack[i].id) + "/"
	}
	if id != 0 {
		path += Name(id)
	} else if path != "" {
		path = path[:len(path)-1]
	}
	d.err = &Error{Offset: offset, Path: path, Err: err}
	return d.err
}
