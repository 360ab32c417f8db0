package playback_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/playback"
)

// unplayable is a stream of one fragment with these tracks.
func unplayable(t *testing.T, c clip, tracks ...sluice.Track) *memory {
	t.Helper()
	m := newMemory()
	now := m.Now()
	m.add(&c.fragments[0], tracks, now, now)
	return m
}

var errNone = errors.New("none")

func TestRefusals(t *testing.T) {
	t.Parallel()
	c := loadClip(t)
	video, sound := c.header.Tracks[0], c.header.Tracks[1]
	with := func(tr sluice.Track, id string, private []byte) sluice.Track {
		tr.CodecID, tr.CodecPrivate = id, private
		return tr
	}
	alaw := []byte{6, 0, 1, 0, 0x40, 0x1f, 0, 0, 0x40, 0x1f, 0, 0, 1, 0, 8, 0, 0, 0}
	for _, tt := range []struct {
		name    string
		tracks  []sluice.Track
		r       playback.Request
		guide   bool
		code    sluice.Code
		text    string
		skipped string
	}{
		{"plays", []sluice.Track{video, sound}, playback.Request{}, false, "", "", ""},
		{"no codec private data", []sluice.Track{with(video, video.CodecID, nil)}, playback.Request{}, false, sluice.MissingCodecPrivateData, "track 1", ""},
		{"broken codec private data", []sluice.Track{with(video, video.CodecID, []byte{1, 2, 3})}, playback.Request{}, false, sluice.InvalidCodecPrivateData, "track 1", ""},
		{"broken AAC", []sluice.Track{video, with(sound, sound.CodecID, []byte{0xff})}, playback.Request{}, false, sluice.InvalidCodecPrivateData, "track 2", ""},
		{"M-JPEG", []sluice.Track{with(video, "V_MJPEG", nil)}, playback.Request{}, false, sluice.UnsupportedStreamMediaType, "M-JPEG", ""},
		{"G.711", []sluice.Track{video, with(sound, "A_MS/ACM", alaw)}, playback.Request{}, false, sluice.UnsupportedStreamMediaType, "G.711 A-law", ""},
		{"G.711 skipped", []sluice.Track{video, with(sound, "A_MS/ACM", alaw)}, playback.Request{SkipUnsupported: true}, false, "", "", "G.711 A-law"},
		{"G.711 in DASH", []sluice.Track{video, with(sound, "A_MS/ACM", alaw)}, playback.Request{Protocol: playback.DASH}, false, "", "", ""},
		{"sound alone", []sluice.Track{sound}, playback.Request{}, false, "", "", ""},
		{"sound alone in the guide", []sluice.Track{sound}, playback.Request{}, true, sluice.UnsupportedStreamMediaType, "track 1", ""},
		{"H.265 in the guide", []sluice.Track{with(video, "V_MPEGH/ISO/HEVC", nil)}, playback.Request{}, true, sluice.UnsupportedStreamMediaType, "H.265", ""},
		{"nothing to play", []sluice.Track{with(sound, "S_TEXT/UTF8", nil)}, playback.Request{}, false, sluice.UnsupportedStreamMediaType, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := unplayable(t, c, tt.tracks...)
			p := newPlayer(t, m)
			if tt.guide {
				p = newPlayer(t, m, guide)
			}
			tt.r.Stream, tt.r.AccessKeyID = m.about, "AKIA"
			_, s, err := p.p.Open(t.Context(), &tt.r)
			if err == nil {
				err = errNone
			}
			if sluice.CodeOf(err) != tt.code || !strings.Contains(err.Error(), tt.text) {
				t.Fatalf("got %v, want %s", err, tt.code)
			}
			if tt.code == "" && s.Skipped != tt.skipped {
				t.Errorf("skipped %q", s.Skipped)
			}
		})
	}
}

func TestParameters(t *testing.T) {
	t.Parallel()
	c := loadClip(t)
	m := newMemory()
	m.play(c, 3)
	at := func(d time.Duration) time.Time { return m.clock.Add(d) }
	for _, tt := range []struct {
		name string
		r    playback.Request
		code sluice.Code
		text string
	}{
		{"defaults", playback.Request{}, "", ""},
		{"mode", playback.Request{PlaybackMode: "REPLAY"}, sluice.InvalidArgument, "PlaybackMode"},
		{"selector", playback.Request{HasSelector: true, Selector: "CLOCK"}, sluice.InvalidArgument, "FragmentSelectorType"},
		{"container", playback.Request{Container: "WEBM"}, sluice.InvalidArgument, "ContainerFormat"},
		{"discontinuity", playback.Request{DiscontinuityMode: "SOMETIMES"}, sluice.InvalidArgument, "DiscontinuityMode"},
		{"expires too soon", playback.Request{Expires: 299}, sluice.InvalidArgument, "Expires"},
		{"expires too late", playback.Request{Expires: 43201}, sluice.InvalidArgument, "Expires"},
		{"longest", playback.Request{Expires: 43200}, "", ""},
		{"live with a range", playback.Request{HasSelector: true, HasRange: true, From: at(-time.Minute), To: at(0)}, sluice.InvalidArgument, "TimestampRange"},
		{"on demand without selector", playback.Request{PlaybackMode: "ON_DEMAND"}, sluice.InvalidArgument, "HLSFragmentSelector"},
		{"on demand without range", playback.Request{PlaybackMode: "ON_DEMAND", HasSelector: true}, sluice.InvalidArgument, "StartTimestamp"},
		{"on demand without end", playback.Request{PlaybackMode: "ON_DEMAND", HasSelector: true, HasRange: true, From: at(-time.Minute)}, sluice.InvalidArgument, "EndTimestamp"},
		{"replay without end", playback.Request{PlaybackMode: "LIVE_REPLAY", HasSelector: true, HasRange: true, From: at(-time.Minute)}, "", ""},
		{"end before start", playback.Request{PlaybackMode: "ON_DEMAND", HasSelector: true, HasRange: true, From: at(-time.Minute), To: at(-2 * time.Minute)}, sluice.InvalidArgument, "later"},
		{"future by server time", playback.Request{PlaybackMode: "ON_DEMAND", HasSelector: true, HasRange: true, From: at(-time.Minute), To: at(time.Second)}, sluice.InvalidArgument, "past"},
		{"future by producer time", playback.Request{PlaybackMode: "ON_DEMAND", HasSelector: true, Selector: "PRODUCER_TIMESTAMP", HasRange: true, From: at(-time.Minute), To: at(time.Second)}, "", ""},
		{"more than a day", playback.Request{PlaybackMode: "ON_DEMAND", HasSelector: true, HasRange: true, From: at(-25 * time.Hour), To: at(0)}, sluice.InvalidArgument, "24h"},
		{"nothing there", playback.Request{PlaybackMode: "ON_DEMAND", HasSelector: true, HasRange: true, From: at(-20 * time.Hour), To: at(-19 * time.Hour)}, sluice.ResourceNotFound, "range"},
	} {
		p := newPlayer(t, m)
		_, err := p.open(tt.r)
		if err == nil {
			err = errNone
		}
		if sluice.CodeOf(err) != tt.code || !strings.Contains(err.Error(), tt.text) {
			t.Errorf("%s: got %v, want %s %s", tt.name, err, tt.code, tt.text)
		}
	}
	m.about.Retention = 0
	for _, mode := range []string{"LIVE", "LIVE_REPLAY", "ON_DEMAND"} {
		r := playback.Request{PlaybackMode: mode}
		if mode != "LIVE" {
			r.HasSelector, r.HasRange, r.From, r.To = true, true, at(-time.Minute), at(0)
		}
		if _, err := newPlayer(t, m).open(r); sluice.CodeOf(err) != sluice.NoDataRetention {
			t.Errorf("%s without retention: %v", mode, err)
		}
	}
	m.about.Retention = time.Hour
	m.pass(40 * time.Second)
	if _, err := newPlayer(t, m).open(playback.Request{}); sluice.CodeOf(err) != sluice.ResourceNotFound {
		t.Errorf("silent for 40 s: %v", err)
	}
}
