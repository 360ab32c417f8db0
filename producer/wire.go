package producer

import (
	"slices"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/mkv"
)

// What a session sends is the Matroska of the official native generator (wire
// protocol, "MKV from the producers"), but for the place of metadata: a
// fragment's tags stand after its own blocks. The official producer writes them
// in front of the Cluster, where a server that cuts at Clusters finds them at the
// end of the fragment before.

const (
	application = "Kinesis Video SDK"
	generator   = "Kinesis Video SDK 1.1.0"
	// endOfFragmentTag ends a fragment at once.
	endOfFragmentTag = "AWS_KINESISVIDEO_END_OF_FRAGMENT"

	blockHeaderSize = 1 + 8 + 4
)

// header is what stands before the first Cluster of a session. It is immutable;
// fragments under the same pointer may follow each other in one session.
type header struct {
	tracks []sluice.Track
	scale  time.Duration
	epoch  time.Time // producer time of PTS 0 under it
	bytes  []byte
}

func newHeader(tracks []sluice.Track, scale time.Duration, uuid [16]byte, epoch time.Time) *header {
	h := &header{tracks: slices.Clone(tracks), scale: scale, epoch: epoch}
	b := mkv.AppendSegment(mkv.AppendHeader(nil))
	b = mkv.AppendInfo(b, mkv.Info{UUID: uuid, Scale: scale, Title: application, MuxingApp: generator, WritingApp: generator})
	h.bytes = mkv.AppendTracks(b, tracks)
	return h
}

func (h *header) declares(number uint64) bool {
	for i := range h.tracks {
		if h.tracks[i].Number == number {
			return true
		}
	}
	return false
}

var endOfFragment = mkv.AppendTags(nil, sluice.Tag{Name: endOfFragmentTag})
