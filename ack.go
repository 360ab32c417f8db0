package sluice

import (
	"encoding/json"
	"fmt"
	"strconv"
)

// AckEvent is what an acknowledgement says of a fragment.
type AckEvent string

const (
	AckBuffering AckEvent = "BUFFERING" // the Cluster's header was read
	AckReceived  AckEvent = "RECEIVED"  // the fragment is complete
	AckPersisted AckEvent = "PERSISTED" // the fragment survives a power cut
	AckError     AckEvent = "ERROR"
	AckIdle      AckEvent = "IDLE" // no media arrives; the connection is kept
)

// Ack is one acknowledgement on the response of PutMedia: a JSON object on a
// line of its own, keys in the order EventType, FragmentTimecode,
// FragmentNumber, ErrorCode, ErrorId, and those that do not apply left out.
type Ack struct {
	Event AckEvent
	// Timecode is the Cluster's timecode exactly as sent, in the stream's own
	// ticks; HasTimecode false leaves it out of the line.
	Timecode    int64
	HasTimecode bool
	Number      FragmentNumber // zero: left out
	Code        AckErrorCode   // ERROR only
}

// Append appends the wire form to b, with its newline.
func (a Ack) Append(b []byte) []byte {
	b = append(b, `{"EventType":"`...)
	b = append(b, a.Event...)
	b = append(b, '"')
	if a.HasTimecode {
		b = append(b, `,"FragmentTimecode":`...)
		b = strconv.AppendInt(b, a.Timecode, 10)
	}
	if !a.Number.IsZero() {
		b = append(b, `,"FragmentNumber":"`...)
		b = a.Number.Append(b)
		b = append(b, '"')
	}
	if a.Event == AckError {
		b = append(b, `,"ErrorCode":"`...)
		b = append(b, a.Code.String()...)
		b = append(b, `","ErrorId":`...)
		b = strconv.AppendInt(b, int64(a.Code), 10)
	}
	return append(b, '}', '\n')
}

func (a Ack) String() string {
	b := a.Append(nil)
	return string(b[:len(b)-1])
}

// ParseAck reads one acknowledgement line. Unknown keys are passed over; an
// ERROR needs its ErrorId, and an id nobody knows is kept as it is.
func ParseAck(line []byte) (Ack, error) {
	var w struct {
		EventType        AckEvent
		FragmentTimecode *int64
		FragmentNumber   string
		ErrorId          int
	}
	if err := json.Unmarshal(line, &w); err != nil {
		return Ack{}, fmt.Errorf("acknowledgement: %w", err)
	}
	a := Ack{Event: w.EventType, Code: AckErrorCode(w.ErrorId)}
	switch a.Event {
	case AckBuffering, AckReceived, AckPersisted, AckIdle:
	case AckError:
		if a.Code == 0 {
			return Ack{}, fmt.Errorf("acknowledgement: ERROR without an ErrorId")
		}
	default:
		return Ack{}, fmt.Errorf("acknowledgement: EventType %q is unknown", clip(string(w.EventType)))
	}
	if w.FragmentTimecode != nil {
		a.Timecode, a.HasTimecode = *w.FragmentTimecode, true
	}
	if w.FragmentNumber != "" {
		n, err := ParseFragmentNumber(w.FragmentNumber)
		if err != nil {
			return Ack{}, fmt.Errorf("acknowledgement: FragmentNumber: %w", err)
		}
		a.Number = n
	}
	return a, nil
}

// AckErrorCode is the ErrorId of an ERROR acknowledgement, and of the error
// tags of GetMedia.
type AckErrorCode int

const (
	ErrorWritingToStream             AckErrorCode = 3002 // GetMedia only
	StreamReadError                  AckErrorCode = 4000 // in GetMedia: the fragment was not found
	MaxFragmentSizeReached           AckErrorCode = 4001
	MaxFragmentDurationReached       AckErrorCode = 4002
	MaxConnectionDurationReached     AckErrorCode = 4003
	FragmentTimecodeLesserThanBefore AckErrorCode = 4004
	MoreThanOneTrackFound            AckErrorCode = 4005 // deprecated, never sent by us
	InvalidMKVData                   AckErrorCode = 4006
	InvalidProducerTimestamp         AckErrorCode = 4007
	StreamNotActive                  AckErrorCode = 4008
	FragmentMetadataLimitReached     AckErrorCode = 4009
	TrackNumberMismatch              AckErrorCode = 4010
	FramesMissingForTrack            AckErrorCode = 4011
	MoreThanAllowedTracksFound       AckErrorCode = 4012
	KMSKeyAccessDenied               AckErrorCode = 4500
	KMSKeyDisabled                   AckErrorCode = 4501
	KMSKeyValidationError            AckErrorCode = 4502
	KMSKeyUnavailable                AckErrorCode = 4503
	KMSKeyInvalidUsage               AckErrorCode = 4504
	KMSKeyInvalidState               AckErrorCode = 4505
	KMSKeyNotFound                   AckErrorCode = 4506
	StreamDeleted                    AckErrorCode = 4507
	InternalError                    AckErrorCode = 5000
	ArchivalError                    AckErrorCode = 5001
)

var ackErrorNames = map[AckErrorCode]string{
	ErrorWritingToStream:             "ERROR_WRITING_TO_STREAM",
	StreamReadError:                  "STREAM_READ_ERROR",
	MaxFragmentSizeReached:           "MAX_FRAGMENT_SIZE_REACHED",
	MaxFragmentDurationReached:       "MAX_FRAGMENT_DURATION_REACHED",
	MaxConnectionDurationReached:     "MAX_CONNECTION_DURATION_REACHED",
	FragmentTimecodeLesserThanBefore: "FRAGMENT_TIMECODE_LESSER_THAN_PREVIOUS",
	MoreThanOneTrackFound:            "MORE_THAN_ONE_TRACK_FOUND",
	InvalidMKVData:                   "INVALID_MKV_DATA",
	InvalidProducerTimestamp:         "INVALID_PRODUCER_TIMESTAMP",
	StreamNotActive:                  "STREAM_NOT_ACTIVE",
	FragmentMetadataLimitReached:     "FRAGMENT_METADATA_LIMIT_REACHED",
	TrackNumberMismatch:              "TRACK_NUMBER_MISMATCH",
	FramesMissingForTrack:            "FRAMES_MISSING_FOR_TRACK",
	MoreThanAllowedTracksFound:       "MORE_THAN_ALLOWED_TRACKS_FOUND",
	KMSKeyAccessDenied:               "KMS_KEY_ACCESS_DENIED",
	KMSKeyDisabled:                   "KMS_KEY_DISABLED",
	KMSKeyValidationError:            "KMS_KEY_VALIDATION_ERROR",
	KMSKeyUnavailable:                "KMS_KEY_UNAVAILABLE",
	KMSKeyInvalidUsage:               "KMS_KEY_INVALID_USAGE",
	KMSKeyInvalidState:               "KMS_KEY_INVALID_STATE",
	KMSKeyNotFound:                   "KMS_KEY_NOT_FOUND",
	StreamDeleted:                    "STREAM_DELETED",
	InternalError:                    "INTERNAL_ERROR",
	ArchivalError:                    "ARCHIVAL_ERROR",
}

// String is the ErrorCode text of the wire, such as INVALID_MKV_DATA.
func (c AckErrorCode) String() string {
	if s, ok := ackErrorNames[c]; ok {
		return s
	}
	return "UNKNOWN_" + strconv.Itoa(int(c))
}

// Error makes a code usable as the cause of an ended session.
func (c AckErrorCode) Error() string { return strconv.Itoa(int(c)) + " " + c.String() }
