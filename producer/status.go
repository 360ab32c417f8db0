package producer

import (
	"fmt"

	"github.com/sluicevideo/sluice"
)

// Status is a status code of the developer guide ("Error Code Reference"). It is
// an error: errors.Is(err, StatusStoreOutOfMemory) asks whether err belongs to
// it. Zero is success and never an error.
type Status uint32

// StatusText is what is known of a Status.
type StatusText struct {
	Name        string // as in the official headers, with STATUS_ in front
	Description string
	Action      string // what to do about it
	Never       bool   // this package never returns it; Action says why
}

// official is s under the number of the official headers: the guide counts the
// codes of the heap from 0x01000000, the headers from 0x10000000.
func (s Status) official() Status {
	if s>>16 == 0x0100 {
		return s&0xffff | 0x10000000
	}
	return s
}

// Is implements errors.Is: a code of the heap is the same under either number.
func (s Status) Is(target error) bool {
	t, ok := target.(Status)
	return ok && s.official() == t.official()
}

// Text is what is known of s; ok is false for a code that nobody has given.
func (s Status) Text() (t StatusText, ok bool) {
	t, ok = statusTable[s.official()]
	return t, ok
}

// Name is the code's name in the official headers.
func (s Status) Name() string {
	if s == 0 {
		return "STATUS_SUCCESS"
	}
	if t, ok := s.Text(); ok {
		return t.Name
	}
	return fmt.Sprintf("STATUS_0x%08x", uint32(s))
}

func (s Status) Error() string {
	if t, ok := s.Text(); ok {
		return fmt.Sprintf("%s (0x%08x): %s", t.Name, uint32(s), t.Description)
	}
	return s.Name()
}

// Statuses are all codes that are known.
func Statuses() []Status {
	all := make([]Status, 0, len(statusTable))
	for s := range statusTable {
		all = append(all, s)
	}
	return all
}

var ackStatus = map[sluice.AckErrorCode]Status{
	sluice.StreamReadError:                  StatusAckStreamReadError,
	sluice.MaxFragmentSizeReached:           StatusAckFragmentSizeReached,
	sluice.MaxFragmentDurationReached:       StatusAckFragmentDurationReached,
	sluice.MaxConnectionDurationReached:     StatusAckConnectionDurationReached,
	sluice.FragmentTimecodeLesserThanBefore: StatusAckFragmentTimecodeNotMonotonic,
	sluice.MoreThanOneTrackFound:            StatusAckMultiTrackMKV,
	sluice.InvalidMKVData:                   StatusAckInvalidMKVData,
	sluice.InvalidProducerTimestamp:         StatusAckInvalidProducerTimestamp,
	sluice.StreamNotActive:                  StatusAckStreamNotActive,
	sluice.FragmentMetadataLimitReached:     StatusAckFragmentMetadataLimit,
	sluice.TrackNumberMismatch:              StatusAckTrackNumberMismatch,
	sluice.FramesMissingForTrack:            StatusAckFramesMissingForTrack,
	sluice.MoreThanAllowedTracksFound:       StatusAckMoreThanAllowedTracks,
	sluice.KMSKeyAccessDenied:               StatusAckKMSKeyAccessDenied,
	sluice.KMSKeyDisabled:                   StatusAckKMSKeyDisabled,
	sluice.KMSKeyValidationError:            StatusAckKMSKeyValidationError,
	sluice.KMSKeyUnavailable:                StatusAckKMSKeyUnavailable,
	sluice.KMSKeyInvalidUsage:               StatusAckKMSKeyInvalidUsage,
	sluice.KMSKeyInvalidState:               StatusAckKMSKeyInvalidState,
	sluice.KMSKeyNotFound:                   StatusAckKMSKeyNotFound,
	sluice.StreamDeleted:                    StatusAckStreamDeleted,
	sluice.InternalError:                    StatusAckInternalError,
	sluice.ArchivalError:                    StatusAckFragmentArchivalError,
}

// StatusOfAck is the Status of an ERROR acknowledgement.
func StatusOfAck(code sluice.AckErrorCode) Status {
	if s, ok := ackStatus[code]; ok {
		return s
	}
	return StatusAckUnknownError
}
