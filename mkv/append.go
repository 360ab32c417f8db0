package mkv

import (
	"encoding/binary"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/mkv/ebml"
)

// The Append functions write a live stream: Segment and Clusters of unknown
// size, nothing that needs seeking back, in the structure of the native Kinesis
// Video producers. In order: AppendHeader, AppendSegment, AppendInfo,
// AppendTracks, then for each fragment AppendCluster, AppendSimpleBlock for
// each frame, AppendTags. They grow b as append does and fail never: what the
// caller hands in has to be in range.

// AppendHeader appends the EBML header.
func AppendHeader(b []byte) []byte {
	b = ebml.AppendHeader(b, ebml.IDHeader, 35, 1)
	b = ebml.AppendUint(b, ebml.IDVersion, 1)
	b = ebml.AppendUint(b, ebml.IDReadVersion, 1)
	b = ebml.AppendUint(b, ebml.IDMaxIDLength, 4)
	b = ebml.AppendUint(b, ebml.IDMaxSizeLength, 8)
	b = ebml.AppendString(b, ebml.IDDocType, "matroska", 1)
	b = ebml.AppendUint(b, ebml.IDDocTypeVersion, 2)
	return ebml.AppendUint(b, ebml.IDDocTypeReadVersion, 2)
}

// AppendSegment appends the start of a Segment of unknown size, in one byte.
func AppendSegment(b []byte) []byte {
	return ebml.AppendHeader(b, IDSegment, ebml.UnknownSize, 1)
}

// Info describes a Segment.
type Info struct {
	UUID       [16]byte      // left out when zero
	Scale      time.Duration // the length of a tick; 0: 1 ms
	Title      string
	MuxingApp  string
	WritingApp string
	Duration   time.Duration // left out when 0: it is not known in a live stream
}

// AppendInfo appends the Info element.
func AppendInfo(b []byte, i Info) []byte {
	b, at := begin(b, IDInfo, 2)
	return end(appendInfo(b, i), at, 2)
}

func appendInfo(b []byte, i Info) []byte {
	if i.Scale <= 0 {
		i.Scale = time.Millisecond
	}
	if i.UUID != [16]byte{} {
		b = ebml.AppendBytes(b, IDSegmentUUID, i.UUID[:], 1)
	}
	b = ebml.AppendUintN(b, IDTimestampScale, uint64(i.Scale), 8)
	if i.Duration > 0 {
		b = ebml.AppendFloat(b, IDDuration, float64(i.Duration)/float64(i.Scale))
	}
	if i.Title != "" {
		b = ebml.AppendString(b, IDTitle, i.Title, 0)
	}
	b = ebml.AppendString(b, IDMuxingApp, i.MuxingApp, 0)
	return ebml.AppendString(b, IDWritingApp, i.WritingApp, 0)
}

// AppendTracks appends the Tracks element. A zero UID becomes the track's
// number, for a UID has to be something.
func AppendTracks(b []byte, tracks []sluice.Track) []byte {
	b, at := begin(b, IDTracks, 4)
	for i := range tracks {
		b = appendTrack(b, &tracks[i])
	}
	return end(b, at, 4)
}

func appendTrack(b []byte, t *sluice.Track) []byte {
	b, at := begin(b, IDTrackEntry, 4)
	b = ebml.AppendUint(b, IDTrackNumber, t.Number)
	uid := t.UID
	if uid == 0 {
		uid = t.Number
	}
	b = ebml.AppendUintN(b, IDTrackUID, uid, 8)
	b = ebml.AppendUint(b, IDTrackType, uint64(t.Type))
	if t.Name != "" {
		b = ebml.AppendString(b, IDTrackName, t.Name, 0)
	}
	if t.Language != "" {
		b = ebml.AppendString(b, IDLanguage, t.Language, 0)
	}
	b = ebml.AppendString(b, IDCodecID, t.CodecID, 0)
	if t.DefaultDuration > 0 {
		b = ebml.AppendUint(b, IDDefaultDuration, uint64(t.DefaultDuration))
	}
	if v := t.Video; v != nil {
		inner, at := begin(b, IDVideo, 4)
		inner = ebml.AppendUintN(inner, IDPixelWidth, v.Width, uintLen(v.Width))
		inner = ebml.AppendUintN(inner, IDPixelHeight, v.Height, uintLen(v.Height))
		if v.DisplayWidth != 0 && v.DisplayHeight != 0 {
			inner = ebml.AppendUint(inner, IDDisplayWidth, v.DisplayWidth)
			inner = ebml.AppendUint(inner, IDDisplayHeight, v.DisplayHeight)
		}
		b = end(inner, at, 4)
	}
	if a := t.Audio; a != nil {
		inner, at := begin(b, IDAudio, 4)
		inner = ebml.AppendFloat(inner, IDSamplingFrequency, a.SamplingFrequency)
		inner = ebml.AppendUint(inner, IDChannels, a.Channels)
		if a.BitDepth != 0 {
			inner = ebml.AppendUint(inner, IDBitDepth, a.BitDepth)
		}
		b = end(inner, at, 4)
	}
	if len(t.CodecPrivate) > 0 {
		b = ebml.AppendBytes(b, IDCodecPrivate, t.CodecPrivate, 0)
	}
	return end(b, at, 4)
}

// uintLen is 2 bytes for what fits them, as the native producers write pictures' sizes.
func uintLen(v uint64) int {
	if v < 1<<16 {
		return 2
	}
	return 8
}

// AppendCluster appends the start of a Cluster of unknown size, with its
// timestamp in ticks.
func AppendCluster(b []byte, ticks uint64) []byte {
	b = ebml.AppendHeader(b, IDCluster, ebml.UnknownSize, 1)
	b = ebml.AppendUintN(b, IDTimestamp, ticks, 8)
	return ebml.AppendUintN(b, IDPosition, 0, 1)
}

// AppendSimpleBlock appends a frame as a SimpleBlock with an 8-byte size. ticks
// counts from the Cluster's timestamp; of f its Track, flags and Data count.
func AppendSimpleBlock(b []byte, ticks int16, f *sluice.Frame) []byte {
	return append(AppendSimpleBlockHeader(b, ticks, f, len(f.Data)), f.Data...)
}

// AppendSimpleBlockHeader appends a SimpleBlock but for the payload, of which
// size bytes follow: for writers that do not want to copy it.
func AppendSimpleBlockHeader(b []byte, ticks int16, f *sluice.Frame, size int) []byte {
	flags := byte(0)
	if f.Key {
		flags |= flagKey
	}
	if f.Invisible {
		flags |= flagInvisible
	}
	if f.Discardable {
		flags |= flagDiscardable
	}
	n := ebml.SizeLen(int64(f.Track))
	b = ebml.AppendHeader(b, IDSimpleBlock, int64(n+3+size), 8)
	b = ebml.AppendSize(b, int64(f.Track), n)
	b = binary.BigEndian.AppendUint16(b, uint16(ticks))
	return append(b, flags)
}

// AppendTags appends a Tags element with one Tag for each of tags; every size
// in it has 8 bytes, as the native producers write them.
func AppendTags(b []byte, tags ...sluice.Tag) []byte {
	b, all := begin(b, IDTags, 8)
	for _, t := range tags {
		var tag, simple int
		b, tag = begin(b, IDTag, 8)
		b, simple = begin(b, IDSimpleTag, 8)
		b = ebml.AppendString(b, IDTagName, t.Name, 8)
		b = ebml.AppendString(b, IDTagString, t.Value, 8)
		b = end(end(b, simple, 8), tag, 8)
	}
	return end(b, all, 8)
}

// begin opens an element whose size, of width bytes, is not known yet; at is
// where its data starts.
func begin(b []byte, id ebml.ID, width int) (_ []byte, at int) {
	b = ebml.AppendSize(ebml.AppendID(b, id), 0, width)
	return b, len(b)
}

// end closes an element that begin opened. An element that has outgrown its
// width gets the width it needs.
func end(b []byte, at, width int) []byte {
	size := len(b) - at
	if need := ebml.SizeLen(int64(size)); need > width {
		b = append(b, make([]byte, need-width)...)
		copy(b[at+need-width:], b[at:at+size])
		at, width = at+need-width, need
	}
	ebml.AppendSize(b[at-width:at-width], int64(size), width)
	return b
}
