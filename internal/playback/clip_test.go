package playback_test

import (
	"bytes"
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/limits"
	"github.com/sluicevideo/sluice/internal/mux/muxtest"
	"github.com/sluicevideo/sluice/internal/playback"
)

// saved is a clip as a client gets it.
func (p *player) saved(from, to time.Time) ([]byte, error) {
	p.t.Helper()
	clip, err := p.p.Clip(p.t.Context(), &playback.ClipRequest{Stream: p.m.about, Selector: "PRODUCER_TIMESTAMP", From: from, To: to})
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := clip.WriteTo(p.t.Context(), &b); err != nil {
		return nil, err
	}
	if int64(b.Len()) != clip.Size {
		p.t.Errorf("clip has %d bytes, was to have %d", b.Len(), clip.Size)
	}
	return b.Bytes(), nil
}

func TestClips(t *testing.T) {
	t.Parallel()
	muxtest.FFmpeg(t)
	for _, tt := range []struct{ name, video, audio string }{
		{"H.264 with B-frames, AAC", "-c:v libx264 -bf 3 -b_strategy 0 -g 25 -pix_fmt yuv420p", "-c:a aac"},
		{"H.265 with B-frames", "-c:v libx265 -pix_fmt yuv420p -x265-params log-level=none:bframes=3:keyint=25:open-gop=0", ""},
		{"H.264, A-law", "-c:v libx264 -bf 0 -g 25 -pix_fmt yuv420p", "-c:a pcm_alaw -ar 8000 -ac 1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			source := muxtest.Media(t, "testsrc2=size=320x180:rate=25:duration=4", tt.video, tt.audio)
			header, fragments := muxtest.Read(t, source)
			m := newMemory()
			for i := range fragments {
				// An hour lies between the second and the third.
				at := start.Add(fragments[i].Timecode)
				if i >= 2 {
					at = at.Add(time.Hour)
				}
				m.add(&fragments[i], header.Tracks, at, at)
			}
			m.pass(5 * time.Hour)
			b, err := newPlayer(t, m).saved(start, start.Add(2*time.Hour))
			if err != nil {
				t.Fatal(err)
			}
			path := muxtest.Write(t, "clip.mp4", b)
			if got, want := muxtest.Hashes(t, path, "v:0"), muxtest.Hashes(t, source, "v:0"); !slices.Equal(got, want) {
				t.Errorf("%d pictures decode differently from the source's %d", len(got), len(want))
			}
			length := func(path string) float64 {
				text := strings.TrimSpace(muxtest.Run(t, "ffprobe", "-show_entries", "format=duration", "-of", "csv=p=0", path))
				d, err := strconv.ParseFloat(text, 64)
				if err != nil {
					t.Fatal(err)
				}
				return d
			}
			if got, want := length(path), length(source); math.Abs(got-want) > 0.1 {
				t.Errorf("duration %v s, the source's is %v: the gap must not be in it", got, want)
			}
			if moov, mdat := bytes.Index(b, []byte("moov")), bytes.Index(b, []byte("mdat")); moov < 0 || mdat < moov {
				t.Error("the index is not in front")
			}
		})
	}
}

func TestClipLimits(t *testing.T) {
	t.Parallel()
	c := loadClip(t)
	m := newMemory()
	m.play(c, 40)
	m.pass(time.Hour)
	size := func(rules limits.Rules) int64 {
		t.Helper()
		p := newPlayer(t, m, func(o *playback.Options) { o.Limits = limits.New(rules, limits.Rates{}) })
		clip, err := p.p.Clip(t.Context(), &playback.ClipRequest{Stream: m.about, From: start, To: start.Add(time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		return clip.Size
	}
	all, ten, bytes := size(limits.Rules{}), size(limits.Rules{ClipFragments: 10}), size(limits.Rules{ClipBytes: 500_000})
	if ten >= all/3 || bytes > 500_000 || bytes < 300_000 {
		t.Errorf("all %d, ten fragments %d, half a megabyte %d", all, ten, bytes)
	}
	p := newPlayer(t, m)
	for _, tt := range []struct {
		name     string
		from, to time.Time
		code     sluice.Code
	}{
		{"nothing there", start.Add(-2 * time.Hour), start.Add(-time.Hour), sluice.ResourceNotFound},
		{"end before start", start, start.Add(-time.Hour), sluice.InvalidArgument},
		{"one instant of one fragment", start.Add(-30 * time.Millisecond), start, ""},
	} {
		if _, err := p.saved(tt.from, tt.to); sluice.CodeOf(err) != tt.code {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// TestClipStreams: the first bytes go out before the last fragment is read.
func TestClipStreams(t *testing.T) {
	t.Parallel()
	c := loadClip(t)
	m := newMemory()
	m.play(c, 8)
	m.pass(time.Hour)
	clip, err := newPlayer(t, m).p.Clip(t.Context(), &playback.ClipRequest{Stream: m.about, From: start, To: start.Add(time.Minute)})
	if err != nil {
		t.Fatal(err)
	}
	stop := errors.New("enough")
	if err := clip.WriteTo(t.Context(), writer(func(p []byte) (int, error) { return 0, stop })); !errors.Is(err, stop) {
		t.Errorf("got %v", err)
	}
	if m.reads != 1 {
		t.Errorf("%d fragments were read before the first byte, want 1", m.reads)
	}
}

type writer func([]byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }

func TestClipErrors(t *testing.T) {
	t.Parallel()
	c := loadClip(t)
	m := newMemory()
	m.play(c, 2)
	changed := slices.Clone(c.header.Tracks)
	changed[0].CodecPrivate = append(slices.Clone(changed[0].CodecPrivate), 0)
	m.add(&c.fragments[2], changed, m.Now(), m.Now())
	m.pass(time.Hour)
	p := newPlayer(t, m)
	if _, err := p.saved(start.Add(-time.Second), start.Add(time.Minute)); sluice.CodeOf(err) != sluice.InvalidCodecPrivateData {
		t.Errorf("changed headers: %v", err)
	}
	broken := c.fragments[0]
	broken.Bytes = bytes.Clone(broken.Bytes)
	for _, e := range broken.Frames {
		if e.Track == 1 {
			clear(broken.Bytes[e.Offset : e.Offset+e.Size])
			broken.Bytes[e.Offset] = 0x7f
			break
		}
	}
	m = newMemory()
	m.add(&broken, c.header.Tracks, m.Now(), m.Now())
	m.pass(time.Hour)
	if _, err := newPlayer(t, m).saved(start, start.Add(time.Minute)); sluice.CodeOf(err) != sluice.InvalidMediaFrame {
		t.Errorf("broken frame: %v", err)
	}
	m.about.Retention = 0
	if _, err := newPlayer(t, m).saved(start, start.Add(time.Minute)); sluice.CodeOf(err) != sluice.NoDataRetention {
		t.Errorf("no retention: %v", err)
	}
}
