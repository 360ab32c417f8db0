// Package sluice holds the words of the system: what a stream, a fragment, a
// frame, an acknowledgement and an error are called, and the two identifiers
// whose text form is part of the wire protocol (the fragment number and the
// stream ARN). It is values only: it opens nothing, starts nothing and imports
// the standard library alone, so that clients and server share it.
//
// The vocabulary is that of Amazon Kinesis Video Streams; see docs/words.md.
package sluice

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// StreamID names one life of a stream inside a server: 16 random bytes as 32
// lower-case hex digits. A stream that is deleted and made again under its old
// name has a new StreamID. It is never built from a caller's input, so it is
// safe as a directory name.
type StreamID string

// StreamRef names a stream as a request does: by name, by ARN, or both. When
// both are set they must agree.
type StreamRef struct {
	Name string
	ARN  string
}

func (r StreamRef) String() string {
	if r.Name != "" {
		return r.Name
	}
	return r.ARN
}

// ARN is a parsed stream ARN:
//
//	arn:<partition>:kinesisvideo:<region>:<account>:stream/<name>/<creation ms>
type ARN struct {
	Partition string
	Region    string
	Account   string
	Name      string
	Created   int64 // creation time, ms since the epoch; also what tells two lives of a name apart
}

func (a ARN) String() string {
	return fmt.Sprintf("arn:%s:kinesisvideo:%s:%s:stream/%s/%d", a.Partition, a.Region, a.Account, a.Name, a.Created)
}

// ParseARN reads a stream ARN. The error names the part that is wrong.
func ParseARN(s string) (ARN, error) {
	if len(s) > 1024 {
		return ARN{}, fmt.Errorf("stream ARN: %d characters, at most 1024", len(s))
	}
	parts := strings.SplitN(s, ":", 6)
	if len(parts) != 6 || parts[0] != "arn" {
		return ARN{}, fmt.Errorf("stream ARN %q: want arn:<partition>:kinesisvideo:<region>:<account>:stream/<name>/<creation time>", s)
	}
	if parts[2] != "kinesisvideo" {
		return ARN{}, fmt.Errorf("stream ARN %q: service is %q, want kinesisvideo", s, parts[2])
	}
	resource := strings.Split(parts[5], "/")
	if len(resource) != 3 || resource[0] != "stream" {
		return ARN{}, fmt.Errorf("stream ARN %q: resource is %q, want stream/<name>/<creation time>", s, parts[5])
	}
	if err := ValidateStreamName(resource[1]); err != nil {
		return ARN{}, fmt.Errorf("stream ARN: %w", err)
	}
	created, err := strconv.ParseInt(resource[2], 10, 64)
	if err != nil || created < 0 {
		return ARN{}, fmt.Errorf("stream ARN %q: creation time %q is not a number of milliseconds", s, resource[2])
	}
	return ARN{Partition: parts[1], Region: parts[3], Account: parts[4], Name: resource[1], Created: created}, nil
}

// ValidateStreamName checks the rule of the API reference: 1 to 256 characters
// of a-z, A-Z, 0-9, underscore, dot and hyphen.
func ValidateStreamName(name string) error {
	if name == "" || len(name) > 256 {
		return fmt.Errorf("StreamName %q: length is %d, must be 1 to 256", clip(name), len(name))
	}
	for _, c := range []byte(name) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '_', c == '.', c == '-':
		default:
			return fmt.Errorf("StreamName %q: must match [a-zA-Z0-9_.-]+", clip(name))
		}
	}
	return nil
}

func clip(s string) string {
	if len(s) > 64 {
		return s[:64] + "..."
	}
	return s
}

// TrackType is the Matroska track type.
type TrackType uint8

const (
	TrackVideo    TrackType = 1
	TrackAudio    TrackType = 2
	TrackSubtitle TrackType = 17
	TrackMetadata TrackType = 33
)

func (t TrackType) String() string {
	switch t {
	case TrackVideo:
		return "video"
	case TrackAudio:
		return "audio"
	case TrackSubtitle:
		return "subtitle"
	case TrackMetadata:
		return "metadata"
	}
	return "type" + strconv.Itoa(int(t))
}

// Track is the meaning of a Matroska TrackEntry. Text is as sent, with trailing
// NULs taken off (old native producers pad with them).
type Track struct {
	Number          uint64
	UID             uint64
	Type            TrackType
	CodecID         string // V_MPEG4/ISO/AVC, A_AAC, ...
	Name            string
	Language        string
	CodecPrivate    []byte        // owned by whoever made the Track; read only
	DefaultDuration time.Duration // 0: not given
	Video           *Video        // nil: not given (native producers leave it out when the size is unknown)
	Audio           *Audio        // nil: not given
}

// Video is what a track says of its pictures, in pixels.
type Video struct {
	Width, Height               uint64
	DisplayWidth, DisplayHeight uint64 // 0: as Width and Height
}

// Audio is what a track says of its sound.
type Audio struct {
	SamplingFrequency float64 // Hz
	Channels          uint64
	BitDepth          uint64 // 0: not given
}

// Frame is one coded picture or one packet of audio.
type Frame struct {
	Track uint64 // Matroska track number
	// Timecode is the presentation time as the media itself counts it: from
	// the epoch in absolute streams, from the start of the session in relative
	// ones. It may be negative when a block lies before its cluster.
	Timecode    time.Duration
	Duration    time.Duration // 0: not given
	Key         bool
	Discardable bool
	Invisible   bool
	Data        []byte // the payload; who owns it is said by whoever hands out the Frame
}

// Tag is a name and a text: a producer's fragment metadata, or one of the
// service's AWS_KINESISVIDEO_ tags.
type Tag struct {
	Name, Value string
}

// TimecodeType says what a Cluster's timecode counts from (PutMedia header
// x-amzn-fragment-timecode-type).
type TimecodeType uint8

const (
	TimecodeAbsolute TimecodeType = iota // from the epoch
	TimecodeRelative                     // from the session's producer start timestamp
)

func (t TimecodeType) String() string {
	if t == TimecodeRelative {
		return "RELATIVE"
	}
	return "ABSOLUTE"
}

// SelectorType is where a reader starts (StartSelector of GetMedia).
type SelectorType string

const (
	SelectNow               SelectorType = "NOW"
	SelectEarliest          SelectorType = "EARLIEST"
	SelectFragmentNumber    SelectorType = "FRAGMENT_NUMBER"    // after that number
	SelectContinuationToken SelectorType = "CONTINUATION_TOKEN" // after that number: a token is a fragment number
	SelectServerTimestamp   SelectorType = "SERVER_TIMESTAMP"
	SelectProducerTimestamp SelectorType = "PRODUCER_TIMESTAMP"
)

// StartSelector is where GetMedia starts.
type StartSelector struct {
	Type  SelectorType
	After FragmentNumber // FRAGMENT_NUMBER and CONTINUATION_TOKEN: reading starts at the first fragment above it
	Time  time.Time      // SERVER_TIMESTAMP and PRODUCER_TIMESTAMP
}

// Clock is one of the two times of a fragment.
type Clock uint8

const (
	ServerClock   Clock = iota // when the service first received the fragment
	ProducerClock              // when the producer says it was made
)
