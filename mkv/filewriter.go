package mkv

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/mkv/ebml"
)

// ErrFrame is wrapped when a FileWriter cannot store a frame.
var ErrFrame = errors.New("frame cannot be written")

// FileOptions describe the file a FileWriter makes.
type FileOptions struct {
	Info Info // its Duration is found out
	// Start is the timecode that becomes 0 in the file; nil: that of the first
	// frame.
	Start *time.Duration
	Tags  []sluice.Tag // written behind the media
}

// FileWriter writes a well-formed seekable file: sizes known, Cues, Duration. A
// Cluster begins at each key frame of the first video track (without video,
// each 5 s) and is held in memory until it is whole. It is used by one
// goroutine; after an error it only repeats it.
type FileWriter struct {
	w     io.WriteSeeker
	o     FileOptions
	err   error
	scale time.Duration

	first       int64 // offset of the Segment's data
	at          int64 // offset of what is written next
	seekCues    int64 // offset of the Seek that names the Cues
	durationAt  int64
	types       map[uint64]sluice.TrackType
	cueTrack    uint64
	start       time.Duration
	started     bool
	end         int64  // ticks of the last moment of the last frame
	cluster     []byte // the open Cluster's blocks
	clusterTick int64
	cue         bool // the open Cluster begins with a key frame
	cues        []byte
}

const (
	maxClusterBytes = 5 << 20
	maxClusterTime  = 5 * time.Second
)

// NewFileWriter begins a file with these tracks, each with its own number.
func NewFileWriter(w io.WriteSeeker, tracks []sluice.Track, o FileOptions) (*FileWriter, error) {
	if o.Info.Scale <= 0 {
		o.Info.Scale = time.Millisecond
	}
	f := &FileWriter{w: w, o: o, scale: o.Info.Scale, types: map[uint64]sluice.TrackType{}}
	for _, t := range tracks {
		if _, twice := f.types[t.Number]; twice || t.Number == 0 {
			return nil, fmt.Errorf("%w: track number %d is 0 or there twice", ErrFrame, t.Number)
		}
		f.types[t.Number] = t.Type
		if f.cueTrack == 0 || t.Type == sluice.TrackVideo && f.types[f.cueTrack] != sluice.TrackVideo {
			f.cueTrack = t.Number
		}
	}
	b := ebml.AppendHeader(AppendHeader(nil), IDSegment, 0, 8)
	f.first = int64(len(b))

	const seekLen = 21
	seekHead := len(b) + IDSeekHead.Len() + 1
	info := seekHead + 3*seekLen
	i := o.Info
	i.Duration = time.Nanosecond // a place for it
	infoBytes := AppendInfo(nil, i)
	b = ebml.AppendHeader(b, IDSeekHead, 3*seekLen, 1)
	b = appendSeek(b, IDInfo, int64(info)-f.first)
	b = appendSeek(b, IDTracks, int64(info+len(infoBytes))-f.first)
	f.seekCues = int64(len(b))
	b = appendSeek(b, IDCues, 0)
	f.durationAt = int64(len(b)) + durationIn(infoBytes)
	b = append(b, infoBytes...)
	b = AppendTracks(b, tracks)
	return f, f.write(b)
}

func appendSeek(b []byte, id ebml.ID, position int64) []byte {
	b = ebml.AppendHeader(b, IDSeek, 18, 1)
	b = ebml.AppendBytes(b, IDSeekID, ebml.AppendID(nil, id), 1)
	return ebml.AppendUintN(b, IDSeekPosition, uint64(position), 8)
}

// durationIn is where in an Info element that AppendInfo made the 8 bytes of
// the Duration lie: behind the UUID, if any, and the scale.
func durationIn(info []byte) int64 {
	at := IDInfo.Len() + 2
	for {
		h, err := ebml.ParseHeader(info[at:])
		if err != nil {
			panic("mkv: an Info of our own without Duration")
		}
		if at += h.Len; h.ID == IDDuration {
			return int64(at)
		}
		at += int(h.Size)
	}
}

// WriteFrame adds a frame; frames come in decoding order, those of all tracks
// together. f.Data is copied. A Duration is kept for subtitles only: in other
// tracks players derive it.
func (f *FileWriter) WriteFrame(fr sluice.Frame) error {
	if f.err != nil {
		return f.err
	}
	kind, ok := f.types[fr.Track]
	if !ok {
		return fmt.Errorf("%w: the file has no track %d", ErrFrame, fr.Track)
	}
	if !f.started {
		f.started, f.start = true, fr.Timecode
		if f.o.Start != nil {
			f.start = *f.o.Start
		}
	}
	tick := f.ticks(fr.Timecode - f.start)
	if tick < math.MinInt16 {
		return fmt.Errorf("%w: its time, %v, lies before the start of the file", ErrFrame, fr.Timecode)
	}
	key := fr.Key && fr.Track == f.cueTrack
	rel := tick - f.clusterTick
	if len(f.cluster) == 0 || key && kind == sluice.TrackVideo || rel > math.MaxInt16 || rel < math.MinInt16 ||
		len(f.cluster)+len(fr.Data) > maxClusterBytes || time.Duration(rel)*f.scale > maxClusterTime && f.types[f.cueTrack] != sluice.TrackVideo {
		if err := f.flush(); err != nil {
			return err
		}
		f.clusterTick, f.cue = max(tick, 0), key
		rel = tick - f.clusterTick
	}
	if kind == sluice.TrackSubtitle && fr.Duration > 0 {
		f.cluster = appendBlockGroup(f.cluster, int16(rel), &fr, uint64(f.ticks(fr.Duration)))
	} else {
		f.cluster = AppendSimpleBlock(f.cluster, int16(rel), &fr)
	}
	f.end = max(f.end, f.ticks(fr.Timecode-f.start+fr.Duration))
	return nil
}

// ticks rounds to the nearest tick.
func (f *FileWriter) ticks(d time.Duration) int64 { return int64(d.Round(f.scale) / f.scale) }

func appendBlockGroup(b []byte, ticks int16, f *sluice.Frame, duration uint64) []byte {
	b, at := begin(b, IDBlockGroup, 8)
	flags := byte(0)
	if f.Invisible {
		flags = flagInvisible
	}
	n := ebml.SizeLen(int64(f.Track))
	b = ebml.AppendHeader(b, IDBlock, int64(n+3+len(f.Data)), 8)
	b = ebml.AppendSize(b, int64(f.Track), n)
	b = append(binary.BigEndian.AppendUint16(b, uint16(ticks)), flags)
	b = append(b, f.Data...)
	return end(ebml.AppendUint(b, IDBlockDuration, duration), at, 8)
}

// flush writes the open Cluster.
func (f *FileWriter) flush() error {
	if len(f.cluster) == 0 {
		return f.err
	}
	if f.cue {
		p := ebml.AppendUint(nil, IDCueTrack, f.cueTrack)
		p = ebml.AppendUint(p, IDCueClusterPosition, uint64(f.at-f.first))
		c := ebml.AppendUint(nil, IDCueTime, uint64(f.clusterTick))
		c = ebml.AppendBytes(c, IDCueTrackPositions, p, 0)
		f.cues = ebml.AppendBytes(f.cues, IDCuePoint, c, 0)
	}
	stamp := ebml.AppendUint(nil, IDTimestamp, uint64(f.clusterTick))
	head := ebml.AppendHeader(nil, IDCluster, int64(len(stamp)+len(f.cluster)), 8)
	if err := f.write(append(head, stamp...)); err != nil {
		return err
	}
	err := f.write(f.cluster)
	f.cluster = f.cluster[:0]
	return err
}

func (f *FileWriter) write(b []byte) error {
	if f.err != nil {
		return f.err
	}
	n, err := f.w.Write(b)
	f.at += int64(n)
	f.err = err
	return err
}

// Close writes what ends the file and fills in what was not known before. It
// does not close the io.WriteSeeker.
func (f *FileWriter) Close() error {
	if f.err != nil {
		return f.err
	}
	if err := f.flush(); err != nil {
		return err
	}
	cues := ebml.AppendVoid(nil, 21) // no Cues, no Seek
	if len(f.cues) > 0 {
		cues = appendSeek(nil, IDCues, f.at-f.first)
		if err := f.write(ebml.AppendBytes(nil, IDCues, f.cues, 0)); err != nil {
			return err
		}
	}
	if len(f.o.Tags) > 0 {
		if err := f.write(AppendTags(nil, f.o.Tags...)); err != nil {
			return err
		}
	}
	size := ebml.AppendSize(nil, f.at-f.first, 8)
	duration := binary.BigEndian.AppendUint64(nil, math.Float64bits(float64(f.end)))
	for _, p := range []struct {
		at int64
		b  []byte
	}{{f.first - 8, size}, {f.seekCues, cues}, {f.durationAt, duration}} {
		if _, err := f.w.Seek(p.at, io.SeekStart); err != nil {
			f.err = err
			return err
		}
		if _, err := f.w.Write(p.b); err != nil {
			f.err = err
			return err
		}
	}
	_, err := f.w.Seek(f.at, io.SeekStart)
	f.err = errors.Join(err, errClosed)
	return err
}

var errClosed = fmt.Errorf("%w: the file is closed", ErrFrame)
