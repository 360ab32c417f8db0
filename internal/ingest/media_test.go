package ingest_test

import (
	"sync/atomic"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/fragment"
	"github.com/sluicevideo/sluice/mkv"
)

// header is what a session of so many tracks begins with.
func header(tracks int) []byte {
	b := mkv.AppendSegment(mkv.AppendHeader(nil))
	b = mkv.AppendInfo(b, mkv.Info{Scale: time.Millisecond, MuxingApp: "test", WritingApp: "test"})
	list := make([]sluice.Track, tracks)
	for i := range list {
		list[i] = sluice.Track{Number: uint64(i + 1), Type: sluice.TrackVideo, CodecID: "V_MPEG4/ISO/AVC"}
	}
	return mkv.AppendTracks(b, list)
}

// frame is a block in a cluster: its track, and its time after the Cluster's.
type frame struct {
	track uint64
	after int
	size  int
}

// cluster is a Cluster of unknown size. Without frames it has one of track 1, at
// its own time.
func cluster(ms uint64, frames ...frame) []byte {
	b := mkv.AppendCluster(nil, ms)
	if frames == nil {
		frames = []frame{{track: 1, size: 100}}
	}
	for i, f := range frames {
		data := make([]byte, f.size)
		for j := range data {
			data[j] = byte(int(ms) + i + j)
		}
		b = mkv.AppendSimpleBlock(b, int16(f.after), &sluice.Frame{Track: f.track, Key: i == 0, Data: data})
	}
	return b
}

var endOfFragment = mkv.AppendTags(nil, sluice.Tag{Name: fragment.TagEndOfFragment})

func join(parts ...[]byte) (out []byte) {
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

// faulty is a clock that stands, and fails once when it is asked for the nth time
// after the first: a call's head asks it, and each Cluster does.
func faulty(ms int64, nth int) func() time.Time {
	var asked atomic.Int64
	return func() time.Time {
		if asked.Add(1) == int64(nth+1) {
			panic("the clock is broken")
		}
		return time.UnixMilli(ms)
	}
}

// block is one more SimpleBlock.
func block(track uint64, after, size int) []byte {
	return mkv.AppendSimpleBlock(nil, int16(after), &sluice.Frame{Track: track, Data: make([]byte, size)})
}
