// Package dash writes DASH manifests (ISO/IEC 23009-1) in the shape of Kinesis
// Video Streams: one period, one adaptation set a track, one S element a
// fragment. It only writes text.
package dash

import (
	"encoding/xml"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// ContentType of manifests.
const ContentType = "application/dash+xml"

// Timescale of the segment timelines: milliseconds, as fragments' times are.
const Timescale = 1000

// Fragment is an S element.
type Fragment struct {
	// Start and End must not change from one manifest to the next: players take an
	// element that ends later than their last one for a new one. Elements do not
	// overlap, and have no gaps of a rounding, at which players halt.
	Start, End time.Time
	Number     string // kvs:fn; "": none
	Time       string // kvs:ts; "": none
}

// Track is an adaptation set.
type Track struct {
	Video         bool
	Codecs        string
	Width, Height int
	FrameRate     float64
	SampleRate    int
	Channels      int
	Bandwidth     int64
	Init, Media   string // relative; Media contains $Number$
}

// Manifest is an MPD. Media times count from the epoch.
type Manifest struct {
	Live        bool
	Available   time.Time // when media time 0 is; live
	Now         time.Time
	Update      time.Duration // how often to ask again; live
	Depth       time.Duration // how much is listed; live
	Delay       time.Duration // from the live end; live
	Ended       bool          // a live manifest that will not grow
	MinBuffer   time.Duration
	StartNumber uint64
	Fragments   []Fragment
	Tracks      []Track
}

// Append appends the manifest to b.
func (m *Manifest) Append(b []byte) []byte {
	var s strings.Builder
	s.WriteString("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n")
	s.WriteString(`<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" xmlns:kvs="urn:kinesisvideo:fragment" profiles="urn:mpeg:dash:profile:isoff-live:2011"`)
	var first, last time.Time
	if n := len(m.Fragments); n > 0 {
		first, last = m.Fragments[0].Start, m.Fragments[n-1].End
	}
	if m.Live {
		fmt.Fprintf(&s, ` type="dynamic" availabilityStartTime="%s" publishTime="%s"`, stamp(m.Available), stamp(m.Now))
		fmt.Fprintf(&s, ` timeShiftBufferDepth="%s" suggestedPresentationDelay="%s"`, span(m.Depth), span(m.Delay))
		if m.Ended {
			fmt.Fprintf(&s, ` mediaPresentationDuration="%s"`, span(last.Sub(time.Unix(0, 0))))
		} else {
			fmt.Fprintf(&s, ` minimumUpdatePeriod="%s"`, span(m.Update))
		}
	} else {
		fmt.Fprintf(&s, ` type="static" mediaPresentationDuration="%s"`, span(last.Sub(first)))
	}
	fmt.Fprintf(&s, " minBufferTime=\"%s\">\n", span(m.MinBuffer))
	s.WriteString(" <Period id=\"0\" start=\"PT0S\">\n")
	for i := range m.Tracks {
		m.track(&s, i, first)
	}
	s.WriteString(" </Period>\n")
	if m.Live {
		fmt.Fprintf(&s, " <UTCTiming schemeIdUri=\"urn:mpeg:dash:utc:direct:2014\" value=\"%s\"/>\n", stamp(m.Now))
	}
	s.WriteString("</MPD>\n")
	return append(b, s.String()...)
}

func (m *Manifest) track(s *strings.Builder, i int, first time.Time) {
	t := &m.Tracks[i]
	kind := "audio"
	if t.Video {
		kind = "video"
	}
	fmt.Fprintf(s, "  <AdaptationSet id=\"%d\" contentType=\"%s\" mimeType=\"%s/mp4\" segmentAlignment=\"true\" startWithSAP=\"1\">\n", i, kind, kind)
	fmt.Fprintf(s, "   <Representation id=\"%d\" codecs=\"%s\" bandwidth=\"%d\"", i, escape(t.Codecs), t.Bandwidth)
	if t.Video {
		fmt.Fprintf(s, ` width="%d" height="%d"`, t.Width, t.Height)
		if t.FrameRate > 0 {
			fmt.Fprintf(s, ` frameRate="%s"`, ratio(t.FrameRate))
		}
		s.WriteString(">\n")
	} else {
		fmt.Fprintf(s, " audioSamplingRate=\"%d\">\n", t.SampleRate)
		fmt.Fprintf(s, "    <AudioChannelConfiguration schemeIdUri=\"urn:mpeg:dash:23003:3:audio_channel_configuration:2011\" value=\"%d\"/>\n", t.Channels)
	}
	offset := ""
	if !m.Live {
		offset = fmt.Sprintf(` presentationTimeOffset="%d"`, first.UnixMilli())
	}
	fmt.Fprintf(s, "    <SegmentTemplate timescale=\"%d\"%s startNumber=\"%d\" initialization=\"%s\" media=\"%s\">\n", Timescale, offset, m.StartNumber, escape(t.Init), escape(t.Media))
	s.WriteString("     <SegmentTimeline>\n")
	for i := range m.Fragments {
		f := &m.Fragments[i]
		begin, end := f.Start.UnixMilli(), f.End.UnixMilli()
		s.WriteString(`      <S t="`)
		s.WriteString(strconv.FormatInt(begin, 10))
		s.WriteString(`" d="`)
		s.WriteString(strconv.FormatInt(max(end-begin, 1), 10))
		s.WriteByte('"')
		if f.Number != "" {
			s.WriteString(` kvs:fn="`)
			s.WriteString(escape(f.Number))
			s.WriteByte('"')
		}
		if f.Time != "" {
			s.WriteString(` kvs:ts="`)
			s.WriteString(escape(f.Time))
			s.WriteByte('"')
		}
		s.WriteString("/>\n")
	}
	s.WriteString("     </SegmentTimeline>\n    </SegmentTemplate>\n   </Representation>\n  </AdaptationSet>\n")
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

func span(d time.Duration) string {
	return "PT" + strconv.FormatFloat(max(d, 0).Round(time.Millisecond).Seconds(), 'f', -1, 64) + "S"
}

// ratio writes a frame rate, which DASH has as a whole number or a fraction.
func ratio(f float64) string {
	if r := int64(f + 0.5); f-float64(r) < 0.005 && f-float64(r) > -0.005 {
		return strconv.FormatInt(r, 10)
	}
	return strconv.FormatInt(int64(f*1001+0.5), 10) + "/1001"
}

func escape(s string) string {
	var b strings.Builder
	xml.EscapeText(&b, []byte(s))
	return b.String()
}
