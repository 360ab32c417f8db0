// Package hls writes HLS playlists (RFC 8216 and its successor draft) in the
// shape of Kinesis Video Streams. It only writes text: what is listed, and under
// which URI, is its caller's business.
package hls

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// ContentType of playlists.
const ContentType = "application/vnd.apple.mpegurl"

// Master is a master playlist with one variant.
type Master struct {
	Codecs        []string // of the variant, pictures first
	Width, Height int      // 0: sound alone
	FrameRate     float64  // 0: not known
	Bandwidth     int64    // bits a second at the peak
	AudioURI      string   // "": sound is not apart
	URI           string
}

// Append appends the playlist to b.
func (m *Master) Append(b []byte) []byte {
	b = append(b, "#EXTM3U\n#EXT-X-VERSION:1\n"...)
	if m.AudioURI != "" {
		b = append(b, `#EXT-X-MEDIA:AUTOSELECT=YES,FORCED=NO,TYPE=AUDIO,URI="`...)
		b = append(b, m.AudioURI...)
		b = append(b, `",GROUP-ID="audio",DEFAULT=NO,NAME="audio"`+"\n"...)
	}
	b = append(b, `#EXT-X-STREAM-INF:CODECS="`...)
	b = append(b, strings.Join(m.Codecs, ",")...)
	b = append(b, '"')
	if m.Width > 0 {
		b = append(b, ",RESOLUTION="...)
		b = strconv.AppendInt(b, int64(m.Width), 10)
		b = append(b, 'x')
		b = strconv.AppendInt(b, int64(m.Height), 10)
	}
	if m.FrameRate > 0 {
		b = append(b, ",FRAME-RATE="...)
		b = append(b, FrameRate(m.FrameRate)...)
	}
	b = append(b, ",BANDWIDTH="...)
	b = strconv.AppendInt(b, m.Bandwidth, 10)
	if m.AudioURI != "" {
		b = append(b, `,AUDIO="audio"`...)
	}
	b = append(b, '\n')
	b = append(b, m.URI...)
	return append(b, '\n')
}

// FrameRate writes a rate as the service does: one or two decimals.
func FrameRate(f float64) string {
	f = math.Round(f*100) / 100
	if f == math.Trunc(f) {
		return strconv.FormatFloat(f, 'f', 1, 64)
	}
	return strconv.FormatFloat(f, 'f', -1, 64)
}

// Segment is a media segment in a playlist.
type Segment struct {
	URI           string
	Duration      time.Duration
	Discontinuity bool
	Map           string    // URI of the initialization segment; "": none. Written where it changes
	Time          time.Time // EXT-X-PROGRAM-DATE-TIME; zero: none
	Parts         []Part    // low latency: its partial segments, where they still matter
	Open          bool      // not a segment yet: only its parts are listed
}

// Part is a partial segment.
type Part struct {
	URI         string
	Duration    time.Duration
	Independent bool // begins with a key frame
}

// Media is a media playlist.
type Media struct {
	VOD                   bool
	Target                time.Duration // longest segment
	Sequence              uint64
	DiscontinuitySequence uint64
	Segments              []Segment
	Ended                 bool

	// Low latency; zero PartTarget: none.
	PartTarget  time.Duration
	PreloadHint string // URI of the next part
}

// Append appends the playlist to b.
func (m *Media) Append(b []byte) []byte {
	low := m.PartTarget > 0
	b = append(b, "#EXTM3U\n#EXT-X-VERSION:"...)
	if low {
		b = append(b, "9\n"...)
	} else {
		b = append(b, "7\n"...)
	}
	if m.VOD {
		b = append(b, "#EXT-X-PLAYLIST-TYPE:VOD\n"...)
	}
	b = append(b, "#EXT-X-TARGETDURATION:"...)
	b = strconv.AppendInt(b, TargetSeconds(m.Target), 10)
	b = append(b, '\n')
	if low {
		b = append(b, "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK="...)
		b = appendSeconds(b, 3*m.PartTarget)
		b = append(b, "\n#EXT-X-PART-INF:PART-TARGET="...)
		b = appendSeconds(b, m.PartTarget)
		b = append(b, '\n')
	}
	b = append(b, "#EXT-X-MEDIA-SEQUENCE:"...)
	b = strconv.AppendUint(b, m.Sequence, 10)
	b = append(b, '\n')
	if m.DiscontinuitySequence > 0 {
		b = append(b, "#EXT-X-DISCONTINUITY-SEQUENCE:"...)
		b = strconv.AppendUint(b, m.DiscontinuitySequence, 10)
		b = append(b, '\n')
	}
	b = append(b, "#EXT-X-INDEPENDENT-SEGMENTS\n"...)
	last := ""
	for i := range m.Segments {
		s := &m.Segments[i]
		if s.Discontinuity {
			b = append(b, "#EXT-X-DISCONTINUITY\n"...)
		}
		if s.Map != last && s.Map != "" {
			b = append(b, `#EXT-X-MAP:URI="`...)
			b = append(b, s.Map...)
			b = append(b, "\"\n"...)
			last = s.Map
		}
		if !s.Time.IsZero() {
			b = append(b, "#EXT-X-PROGRAM-DATE-TIME:"...)
			b = s.Time.UTC().AppendFormat(b, "2006-01-02T15:04:05.000Z\n")
		}
		b = s.append(b)
	}
	if m.PreloadHint != "" {
		b = append(b, `#EXT-X-PRELOAD-HINT:TYPE=PART,URI="`...)
		b = append(b, m.PreloadHint...)
		b = append(b, "\"\n"...)
	}
	if m.Ended {
		b = append(b, "#EXT-X-ENDLIST\n"...)
	}
	return b
}

func (s *Segment) append(b []byte) []byte {
	for _, p := range s.Parts {
		b = append(b, "#EXT-X-PART:DURATION="...)
		b = appendSeconds(b, p.Duration)
		b = append(b, `,URI="`...)
		b = append(b, p.URI...)
		b = append(b, '"')
		if p.Independent {
			b = append(b, ",INDEPENDENT=YES"...)
		}
		b = append(b, '\n')
	}
	if s.Open {
		return b
	}
	b = append(b, "#EXTINF:"...)
	b = appendSeconds(b, s.Duration)
	b = append(b, ",\n"...)
	b = append(b, s.URI...)
	return append(b, '\n')
}

// appendSeconds writes seconds with up to three decimals.
func appendSeconds(b []byte, d time.Duration) []byte {
	return strconv.AppendFloat(b, d.Round(time.Millisecond).Seconds(), 'f', -1, 64)
}

// TargetSeconds is the EXT-X-TARGETDURATION for segments of at most d: their
// durations, rounded to whole seconds, are not above it.
func TargetSeconds(d time.Duration) int64 {
	return max(1, int64(math.Round(d.Round(time.Millisecond).Seconds())))
}
