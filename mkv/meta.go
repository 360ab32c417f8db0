package mkv

import (
	"fmt"
	"slices"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/mkv/ebml"
)

// meta is what has been read of the elements around the media.
type meta struct {
	tracks   []sluice.Track
	track    sluice.Track // the TrackEntry that is open
	video    sluice.Video
	audio    sluice.Audio
	tags     []Tag
	firstTag int // of the Tag that is open
	targeted bool
}

// entering prepares for a master element that begins.
func (d *Demuxer) entering(id ebml.ID) error {
	m := &d.meta
	switch id {
	case ebml.IDHeader:
		d.documents++
		m.tracks, d.scale = nil, defaultScale
	case IDTracks:
		m.tracks = nil // a second Tracks is a copy of the first (RFC 9559, Tracks)
	case IDTrackEntry:
		if len(m.tracks) >= d.o.MaxTracks {
			return ErrTrackCount
		}
		m.track = sluice.Track{}
	case IDVideo:
		m.video = sluice.Video{}
	case IDAudio:
		m.audio = sluice.Audio{SamplingFrequency: 8000, Channels: 1} // RFC 9559: the defaults
	case IDCluster:
		d.haveTime = false
	case IDBlockGroup:
		d.group = blockGroup{}
		d.frames = d.frames[:0]
	case IDTags:
		m.tags = m.tags[:0]
		d.tagPlace = d.tagPlace[:0]
	case IDTag:
		m.firstTag, m.targeted = len(m.tags), false
	case IDSimpleTag:
		if len(m.tags) >= d.o.MaxTags {
			return ErrTagCount
		}
		d.tagPlace = append(d.tagPlace, len(m.tags))
		m.tags = append(m.tags, Tag{})
	}
	return nil
}

// leaving takes in a master element that has ended.
func (d *Demuxer) leaving(id ebml.ID) {
	m := &d.meta
	switch id {
	case IDTrackEntry:
		// Clipped, so that a slice handed out earlier is never written to.
		m.tracks = append(slices.Clip(m.tracks), m.track)
	case IDVideo:
		v := m.video
		m.track.Video = &v
	case IDAudio:
		a := m.audio
		m.track.Audio = &a
	case IDSimpleTag:
		d.tagPlace = d.tagPlace[:len(d.tagPlace)-1]
	case IDTag:
		for i := m.firstTag; i < len(m.tags); i++ {
			m.tags[i].Targeted = m.targeted
		}
	}
}

// learn takes in the value of an element.
func (d *Demuxer) learn(id ebml.ID, t Type, b []byte) error {
	var u uint64
	var f float64
	var err error
	switch t {
	case Uint:
		u, err = ebml.Uint(b)
	case Float:
		f, err = ebml.Float(b)
	case Date:
		_, err = ebml.Date(b)
	}
	if err != nil {
		return err
	}
	tr := &d.meta.track
	switch id {
	case ebml.IDReadVersion:
		if u > 1 {
			return fmt.Errorf("%w: EBMLReadVersion is %d", ErrDocType, u)
		}
	case ebml.IDMaxIDLength:
		if u > 4 {
			return fmt.Errorf("%w: EBMLMaxIDLength is %d", ErrDocType, u)
		}
	case ebml.IDMaxSizeLength:
		if u > 8 {
			return fmt.Errorf("%w: EBMLMaxSizeLength is %d", ErrDocType, u)
		}
	case ebml.IDDocType:
		if s := ebml.String(b); s != "matroska" && s != "webm" {
			return fmt.Errorf("%w: DocType is %.16q", ErrDocType, s)
		}
	case IDTimestampScale:
		if u == 0 || u > maxScale {
			return fmt.Errorf("%w: TimestampScale is %d", ErrTimestamp, u)
		}
		d.scale = u
	case IDTimestamp:
		return d.setCluster(u)
	case IDBlockDuration:
		d.group.duration, d.group.hasDuration = u, true
	case IDReferenceBlock:
		d.group.references = true
	case IDTrackNumber:
		tr.Number = u
	case IDTrackUID:
		tr.UID = u
	case IDTrackType:
		tr.Type = sluice.TrackType(min(u, 255))
	case IDCodecID:
		tr.CodecID = ebml.String(b)
	case IDTrackName:
		tr.Name = ebml.String(b)
	case IDLanguage:
		tr.Language = ebml.String(b)
	case IDCodecPrivate:
		tr.CodecPrivate = slices.Clone(b)
	case IDDefaultDuration:
		if u > uint64(time.Hour) {
			return fmt.Errorf("%w: DefaultDuration is %d ns", ErrTimestamp, u)
		}
		tr.DefaultDuration = time.Duration(u)
	case IDPixelWidth:
		d.meta.video.Width = u
	case IDPixelHeight:
		d.meta.video.Height = u
	case IDDisplayWidth:
		d.meta.video.DisplayWidth = u
	case IDDisplayHeight:
		d.meta.video.DisplayHeight = u
	case IDSamplingFrequency:
		d.meta.audio.SamplingFrequency = f
	case IDChannels:
		d.meta.audio.Channels = u
	case IDBitDepth:
		d.meta.audio.BitDepth = u
	case idTagTrackUID, idTagEditionUID, idTagChapterUID, idTagAttachmentUID:
		d.meta.targeted = d.meta.targeted || u != 0
	case IDTagName:
		if n := len(d.tagPlace); n > 0 {
			d.meta.tags[d.tagPlace[n-1]].Name = ebml.String(b)
		}
	case IDTagString:
		if n := len(d.tagPlace); n > 0 {
			d.meta.tags[d.tagPlace[n-1]].Value = ebml.String(b)
		}
	}
	return nil
}

// maxScale keeps 2^15 ticks below 2^63 ns; it is 18 minutes a tick.
const maxScale = 1 << 40
