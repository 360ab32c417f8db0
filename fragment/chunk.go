package fragment

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/mkv"
	"github.com/sluicevideo/sluice/mkv/ebml"
)

// ErrMetadata means that one of the service's tags holds what it cannot mean.
var ErrMetadata = errors.New("a tag of the service is broken")

// Chunk is what is known of a chunk: all of it once the next one has begun or
// the input has ended, and the part that has been read until then. Of a file
// that no service has tagged, Number and the times stay zero.
type Chunk struct {
	Index  int   // counts the chunks of the input, from 0
	Offset int64 // of its EBML header

	Tracks []sluice.Track
	Scale  time.Duration

	// From the leading tags; known when the Cluster begins.
	Number   sluice.FragmentNumber
	Server   time.Time // zero: not given
	Producer time.Time // zero: not given
	// Err is why there is no media, from error tags; nil when there is.
	Err *ChunkError

	Clusters int   // how many have begun; 1 in a whole chunk
	Timecode int64 // of the last Cluster, in ticks as sent

	// Tags are the producer's, in order: those that do not speak of one track.
	Tags []sluice.Tag

	// From the trailing tags, which only GetMedia writes.
	Behind time.Duration // how far the reader is behind now
	Token  sluice.FragmentNumber
	// Complete says that both trailing tags have come.
	Complete  bool
	hasBehind bool
}

// Track is the track with a number, or nil.
func (c *Chunk) Track(number uint64) *sluice.Track {
	for i := range c.Tracks {
		if c.Tracks[i].Number == number {
			return &c.Tracks[i]
		}
	}
	return nil
}

// ChunkError is what a chunk with error tags says.
type ChunkError struct {
	Number    sluice.FragmentNumber // zero: not said
	ID        sluice.AckErrorCode   // ERROR_ID
	Code      string                // ERROR_CODE
	Exception sluice.Code           // GetMediaForFragmentList: EXCEPTION_ERROR_CODE
	Message   string                // GetMediaForFragmentList: EXCEPTION_MESSAGE
}

func (e *ChunkError) Error() string {
	s := fmt.Sprintf("service: %d %s", int(e.ID), e.Code)
	if e.Exception != "" {
		s += fmt.Sprintf(" (%s: %s)", e.Exception, e.Message)
	}
	if !e.Number.IsZero() {
		s = "fragment " + e.Number.String() + ": " + s
	}
	return s
}

// ChunkReader cuts the output of GetMedia, or of GetMediaForFragmentList, into
// chunks as it arrives: it is a demuxer that knows which chunk each element is
// in. The elements' Raw bytes, joined, are the input.
type ChunkReader struct {
	d     *mkv.Demuxer
	chunk *Chunk
	err   error
}

// NewChunkReader makes a reader of chunks; o as for a demuxer.
func NewChunkReader(o mkv.Options) *ChunkReader {
	return &ChunkReader{d: mkv.NewDemuxer(o)}
}

// Feed hands in the next bytes, as of a Demuxer.
func (c *ChunkReader) Feed(p []byte) { c.d.Feed(p) }

// Close says that no more bytes follow.
func (c *ChunkReader) Close() { c.d.Close() }

// Chunk is the chunk of the event that Next returned last; each chunk has its
// own, which may be kept.
func (c *ChunkReader) Chunk() *Chunk { return c.chunk }

// Next is the next element event, valid until the next call; ErrMore, io.EOF
// and *mkv.Error as of a Demuxer. A Start of an EBML header begins a chunk.
func (c *ChunkReader) Next() (*mkv.Event, error) {
	if c.err != nil {
		return nil, c.err
	}
	ev, err := c.d.Next()
	if err != nil {
		return nil, err
	}
	switch {
	case ev.Kind == mkv.Start && ev.ID == ebml.IDHeader:
		index := 0
		if c.chunk != nil {
			index = c.chunk.Index + 1
		}
		c.chunk = &Chunk{Index: index, Offset: ev.Offset}
	case ev.Kind == mkv.Start && ev.ID == mkv.IDCluster:
		c.header()
		c.chunk.Clusters++
	case ev.Kind == mkv.Data && ev.ID == mkv.IDTimestamp:
		c.chunk.Timecode, _ = c.d.ClusterTimestamp()
	case ev.Kind == mkv.End && (ev.ID == mkv.IDTracks || ev.ID == mkv.IDInfo):
		c.header()
	case ev.Kind == mkv.End && ev.ID == mkv.IDTags:
		if err := c.chunk.learn(ev.Tags); err != nil {
			c.err = &mkv.Error{Offset: ev.Offset, Path: "Segment/Tags", Err: err}
			return nil, c.err
		}
	}
	return ev, nil
}

func (c *ChunkReader) header() {
	c.chunk.Tracks, c.chunk.Scale = c.d.Tracks(), c.d.Scale()
}

// learn takes in the tags of one Tags element.
func (c *Chunk) learn(tags []mkv.Tag) error {
	for i := range tags {
		t := &tags[i]
		if t.Targeted {
			continue
		}
		if !strings.HasPrefix(t.Name, servicePrefix) {
			c.Tags = append(c.Tags, t.Tag)
			continue
		}
		var err error
		switch t.Name {
		case TagFragmentNumber:
			c.Number, err = sluice.ParseFragmentNumber(t.Value)
		case TagServerTimestamp:
			c.Server, err = parseSeconds(t.Value)
		case TagProducerTimestamp:
			c.Producer, err = parseSeconds(t.Value)
		case TagMillisBehindNow:
			var ms int64
			ms, err = strconv.ParseInt(t.Value, 10, 64)
			c.Behind, c.hasBehind = time.Duration(ms)*time.Millisecond, true
		case TagContinuationToken:
			c.Token, err = sluice.ParseFragmentNumber(t.Value)
		case TagErrorID:
			var id int
			id, err = strconv.Atoi(t.Value)
			c.failure().ID = sluice.AckErrorCode(id)
		case TagErrorCode:
			c.failure().Code = t.Value
		case TagExceptionCode:
			c.failure().Exception = sluice.Code(t.Value)
		case TagExceptionMessage:
			c.failure().Message = t.Value
		default: // the producer's events: they are its tags too
			c.Tags = append(c.Tags, t.Tag)
		}
		if err != nil {
			return fmt.Errorf("%w: %s: %w", ErrMetadata, t.Name, err)
		}
	}
	c.Complete = c.hasBehind && !c.Token.IsZero()
	if c.Err != nil {
		c.Err.Number = c.Number
	}
	return nil
}

func (c *Chunk) failure() *ChunkError {
	if c.Err == nil {
		c.Err = &ChunkError{}
	}
	return c.Err
}

// parseSeconds reads "1511852109.126"; digits beyond ms are cut off.
func parseSeconds(s string) (time.Time, error) {
	whole, frac, _ := strings.Cut(s, ".")
	sec, err := strconv.ParseInt(whole, 10, 64)
	if err != nil {
		return time.Time{}, err
	}
	ms := int64(0)
	if frac != "" {
		if ms, err = strconv.ParseInt((frac + "00")[:3], 10, 64); err != nil || ms < 0 {
			return time.Time{}, fmt.Errorf("%.32q is not a number of seconds", s)
		}
	}
	if strings.HasPrefix(whole, "-") {
		ms = -ms
	}
	const most = 1 << 43 // seconds: beyond every date, and no overflow
	if sec > most || sec < -most {
		return time.Time{}, fmt.Errorf("%.32q is no time", s)
	}
	return time.UnixMilli(sec*1000 + ms).UTC(), nil
}
