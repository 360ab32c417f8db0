// Package fragment is the dialect of Matroska that Kinesis Video Streams
// speaks: how a producer's stream is cut into fragments, and how a fragment
// becomes a chunk, the small Matroska document that GetMedia returns.
//
// Reader is the ingest side: it is fed the body of a PutMedia call and reports
// the header, and each fragment's bytes verbatim with the place of every frame.
// The Append functions write the service's own tags. ChunkReader is the reading
// side: it cuts the output of GetMedia and GetMediaForFragmentList into chunks.
//
// A chunk (docs/format/chunk.md has it byte for byte):
//
//	+--------------------------------+----------------------------------------+
//	| EBML header, Segment of unknown size, Info, Tracks, ... as sent         |
//	+--------------------------------+----------------------------------------+
//	| Tags: FRAGMENT_NUMBER, SERVER_TIMESTAMP, PRODUCER_TIMESTAMP  (service)  |
//	+--------------------------------------------------------------------------+
//	| Cluster, and what followed it before the next one, as sent               |
//	+--------------------------------------------------------------------------+
//	| Tags: MILLIS_BEHIND_NOW, CONTINUATION_TOKEN                   (service)  |
//	+--------------------------------------------------------------------------+
//
// The package keeps no media: bytes it hands out alias bytes it was fed.
package fragment

import (
	"errors"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/mkv"
)

// ErrMore is returned by Next when everything fed has been reported.
var ErrMore = mkv.ErrMore

// What a session can do wrong beyond broken Matroska; each comes in an
// *mkv.Error, which says where.
var (
	ErrSecondHeader = errors.New("a second EBML header or Segment in one session")
	ErrNoTracks     = errors.New("a Cluster before any track")
	ErrNoTimestamp  = errors.New("a Cluster without a Timestamp")
	ErrHeaderSize   = errors.New("what stands before the first Cluster, or between a fragment's end and the next Cluster, is larger than the limit")
	ErrFragmentSize = errors.New("the fragment is larger than the limit")
	ErrTagLimit     = errors.New("fragment metadata over the limit")
)

// Limits of fragment metadata (guide, "Using Streaming Metadata").
const (
	MaxTags     = 10  // a fragment
	MaxTagName  = 128 // bytes
	MaxTagValue = 256 // bytes
)

// Tags of the producer that mean something to the service.
const (
	TagEndOfFragment   = "AWS_KINESISVIDEO_END_OF_FRAGMENT"
	TagImageGeneration = "AWS_KINESISVIDEO_IMAGE_GENERATION"
	TagImagePrefix     = "AWS_KINESISVIDEO_IMAGE_PREFIX"
	TagNotification    = "AWS_KINESISVIDEO_NOTIFICATION"
)

// Tags of the service.
const (
	TagFragmentNumber    = "AWS_KINESISVIDEO_FRAGMENT_NUMBER"
	TagServerTimestamp   = "AWS_KINESISVIDEO_SERVER_TIMESTAMP"
	TagProducerTimestamp = "AWS_KINESISVIDEO_PRODUCER_TIMESTAMP"
	TagMillisBehindNow   = "AWS_KINESISVIDEO_MILLIS_BEHIND_NOW"
	TagContinuationToken = "AWS_KINESISVIDEO_CONTINUATION_TOKEN"
	TagErrorCode         = "AWS_KINESISVIDEO_ERROR_CODE"
	TagErrorID           = "AWS_KINESISVIDEO_ERROR_ID"
	TagExceptionCode     = "AWS_KINESISVIDEO_EXCEPTION_ERROR_CODE"
	TagExceptionMessage  = "AWS_KINESISVIDEO_EXCEPTION_MESSAGE"
)

// servicePrefix begins the names of all tags with a meaning to the service;
// such tags do not count as the user's fragment metadata.
const servicePrefix = "AWS_KINESISVIDEO_"

// Header is what a producer sent before its first Cluster, kept verbatim except
// for the Segment's size, which becomes 01 FF FF FF FF FF FF FF. It is made once
// a session, is read only, and aliases nothing that was fed.
type Header struct {
	First  []byte // the leading bytes of the session's first chunk: all of it
	Rest   []byte // the same for later chunks: without Tags that stood before Tracks
	Tracks []sluice.Track
	Scale  time.Duration // the length of a tick: TimestampScale
	Tags   []sluice.Tag  // all tags before the first Cluster
}

// Entry places one frame in a fragment's bytes, which begin with the Cluster's id.
type Entry struct {
	Offset, Size                uint32 // of the payload
	Track                       uint32
	Key, Discardable, Invisible bool
	Timecode                    time.Duration // as sluice.Frame.Timecode
	Duration                    time.Duration // 0: not given
}

// Frame is the entry as a frame; data is the payload.
func (e Entry) Frame(data []byte) sluice.Frame {
	return sluice.Frame{
		Track: uint64(e.Track), Timecode: e.Timecode, Duration: e.Duration,
		Key: e.Key, Discardable: e.Discardable, Invisible: e.Invisible, Data: data,
	}
}
