package producer_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/mediatest"
	"github.com/sluicevideo/sluice/mkv"
	"github.com/sluicevideo/sluice/producer"
)

// elements lists what a Matroska stream consists of: each element with its level,
// and of the values those that follow from the frames.
func elements(t testing.TB, b []byte) (out []string, frames []mkv.Frame, tracks []sluice.Track) {
	t.Helper()
	d := mkv.NewDemuxer(mkv.Options{})
	d.Feed(b)
	d.Close()
	for {
		ev, err := d.Next()
		if errors.Is(err, io.EOF) {
			for _, tr := range d.Tracks() {
				tr.CodecPrivate = slices.Clone(tr.CodecPrivate)
				tracks = append(tracks, tr)
			}
			return out, frames, tracks
		}
		if err != nil {
			t.Fatal(err)
		}
		name := mkv.Name(ev.ID)
		if ev.Kind != mkv.End {
			line := fmt.Sprintf("%d %s", ev.Level, name)
			switch name {
			case "SegmentUUID", "SegmentUID":
			case "SimpleBlock":
				line += fmt.Sprintf(" %x", ev.Payload()[:4])
			case "TagName", "TagString", "Timestamp", "TimestampScale", "CodecID", "TrackNumber", "TrackUID", "TrackType", "CodecPrivate", "PixelWidth", "PixelHeight",
				"SamplingFrequency", "Channels", "DocType", "Name", "Title", "MuxingApp", "WritingApp", "Position":
				line += fmt.Sprintf(" %x", ev.Payload())
			}
			out = append(out, line)
		}
		for _, f := range ev.Frames {
			f.Data = slices.Clone(f.Data)
			frames = append(frames, f)
		}
	}
}

// masked is a session without its SegmentUID, which is random.
func masked(b []byte) []byte {
	b = slices.Clone(b)
	if i := bytes.Index(b, []byte{0x73, 0xa4, 0x90}); i >= 0 {
		clear(b[i+3 : i+19])
	}
	return b
}

// For the frames of the recorded official sessions this producer writes the same
// Matroska, element for element, with the same times, flags and headers: the same
// bytes, but for the random SegmentUID.
func TestStructureEqualsTheOfficialProducers(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"video-h264-01", "av-h264-aac-01", "video-h264-relative-01"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			body, err := os.ReadFile(filepath.Join(mediatest.Dir(t), "putmedia-captures", name+".body.mkv"))
			if err != nil {
				t.Skip("needs the recordings: ", err)
			}
			theirs, frames, tracks := elements(t, body)
			d := newDouble(t)
			info := producer.StreamInfo{Tracks: tracks, NALs: producer.AdaptNone}
			if strings.Contains(name, "relative") {
				info.Timecodes = sluice.TimecodeRelative
			}
			s := newStream(t, d.client(), info)
			for i := range frames {
				f := &frames[i]
				fr := producer.Frame{Track: f.Track, PTS: f.Timecode, DTS: f.Timecode, Key: f.Key, Data: f.Data}
				if err := s.PutFrame(t.Context(), fr); err != nil {
					t.Fatal(err)
				}
			}
			stop(t, s)
			ours, got, _ := elements(t, d.session(1).body)
			if len(got) != len(frames) {
				t.Errorf("%d frames, want %d", len(got), len(frames))
			}
			if !slices.Equal(ours, theirs) {
				for i := range min(len(ours), len(theirs)) {
					if ours[i] != theirs[i] {
						t.Errorf("element %d of %d is %q, the official producer's %q", i, len(theirs), ours[i], theirs[i])
						break
					}
				}
				if len(ours) != len(theirs) {
					t.Errorf("%d elements, want %d", len(ours), len(theirs))
				}
			}
			if !bytes.Equal(masked(d.session(1).body), masked(body)) {
				t.Error("the bytes differ")
			}
		})
	}
}
