package producer

import (
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/codec"
)

// Frame is one coded picture, one packet of sound, or one record of anything.
type Frame struct {
	// Track is the number of a track of StreamInfo. 0: the first.
	Track uint64
	// PTS is when the frame is shown: from the Unix epoch with absolute
	// timecodes, from any point of the source's with relative ones. It does not
	// count with StreamInfo.ClockTimes.
	PTS time.Duration
	// DTS is when the frame is decoded; it orders the frames. With NoDTS the
	// stream works it out.
	DTS   time.Duration
	NoDTS bool
	// Duration that the frame is shown; 0: not known.
	Duration time.Duration
	// Key: decoding can start here. A key frame of the first video track, or of
	// the only track, begins a fragment.
	Key         bool
	Discardable bool // a decoder may leave it out
	Invisible   bool // decoded and not shown
	// EndOfFragment ends the fragment after this frame, as EndFragment does.
	EndOfFragment bool
	// Tags are metadata of the fragment that the frame goes into, beside what
	// PutMetadata adds. Of the names that begin with AWS only the event markers
	// MarkImage, MarkImagePrefix and MarkNotification are taken.
	Tags []sluice.Tag
	// Data is read during PutFrame only; the caller keeps it.
	Data []byte
}

// FrameAt is a Frame at a time of the clock, for streams with absolute
// timecodes.
func FrameAt(at time.Time, key bool, data []byte) Frame {
	d := time.Duration(at.UnixNano())
	return Frame{PTS: d, DTS: d, Key: key, Data: data}
}

// track is a track of a stream and what is known of its frames. The stream's
// mutex guards it.
type track struct {
	index int // bit of the fragment's set
	info  sluice.Track
	kind  codec.Kind

	adapt    adaptation
	declared codec.Framing // of frames that come length-prefixed
	// sets are the parameter sets that the codec private data was built from,
	// joined in Annex B; a key frame with others begins a new header.
	sets    []byte
	seen    []byte // those of the newest key frame
	scratch []byte // the adapted frame

	started bool // a frame was put
	lastDTS time.Duration
	lastPTS time.Duration
	step    time.Duration // between the last two DTS: guesses the length of the last frame

	// Interleaving: frames that wait for the other tracks.
	pending pendingFrames
	silent  bool // the others no longer wait for it
}

type adaptation uint8

const (
	adaptNothing adaptation = iota
	adaptToLength
	adaptToAnnexB
)
