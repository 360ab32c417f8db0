package playback_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesisvideo"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/mediatest"
	"github.com/sluicevideo/sluice/internal/mux/muxtest"
	"github.com/sluicevideo/sluice/internal/sluicetest"
	"github.com/sluicevideo/sluice/kvsapi"
)

// put sends a Matroska body into a new stream of a real server and waits until it
// is durable.
func put(t *testing.T, s *sluicetest.Server, name string, body []byte, in kvsapi.PutMediaInput) {
	t.Helper()
	c := s.Client()
	_, err := c.Control().CreateStream(t.Context(), &kinesisvideo.CreateStreamInput{StreamName: aws.String(name), DataRetentionInHours: aws.Int32(24)})
	if err != nil {
		t.Fatal(err)
	}
	send(t, c, name, body, in)
}

func send(t *testing.T, c *kvsapi.Client, name string, body []byte, in kvsapi.PutMediaInput) {
	t.Helper()
	in.Stream, in.Body = sluice.StreamRef{Name: name}, bytes.NewReader(body)
	session, err := c.PutMedia(t.Context(), &in)
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	for {
		ack, err := session.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if ack.Event == sluice.AckError {
			t.Fatalf("PutMedia: %s", ack)
		}
	}
}

// span is the range of a stream's fragments by the producer's clock.
func span(t *testing.T, c *kvsapi.Client, name string) (from, to time.Time, n int) {
	t.Helper()
	list, _, err := c.ListFragments(t.Context(), &kvsapi.ListFragmentsInput{
		Stream: sluice.StreamRef{Name: name}, Max: 1000, Clock: sluice.ProducerClock, From: time.Unix(0, 0), To: time.Now().Add(time.Hour),
	})
	if err != nil || len(list) == 0 {
		t.Fatalf("ListFragments: %d fragments, %v", len(list), err)
	}
	slices.SortFunc(list, func(a, b kvsapi.FragmentInfo) int { return a.ProducerTimestamp.Compare(b.ProducerTimestamp) })
	return list[0].ProducerTimestamp, list[len(list)-1].ProducerTimestamp, len(list)
}

func get(t *testing.T, u string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, u, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(b)
}

// resolve is a URI of a playlist as a URL.
func resolve(t *testing.T, base, uri string) string {
	t.Helper()
	b, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	u, err := b.Parse(uri)
	if err != nil {
		t.Fatal(err)
	}
	return u.String()
}

// TestRecordingsPlay: what official producers sent plays from a real server as
// HLS (MP4 and TS), DASH and a clip, and ffmpeg decodes from each what it decodes
// from the recording itself.
func TestRecordingsPlay(t *testing.T) {
	t.Parallel()
	muxtest.FFmpeg(t)
	s := sluicetest.Start(t)
	for _, name := range []string{"av-h264-aac-01", "video-h264-01", "video-h264-relative-01"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join("putmedia-captures", name+".body.mkv")
			body := mediatest.File(t, path)
			in := kvsapi.PutMediaInput{}
			if strings.Contains(name, "relative") {
				in.TimecodeType, in.ProducerStart = sluice.TimecodeRelative, time.Now().Add(-time.Hour).Truncate(time.Millisecond)
			}
			put(t, s, name, body, in)
			plays(t, s, name, filepath.Join(mediatest.Dir(t), path), strings.HasPrefix(name, "av"))
		})
	}
}

// TestCodecsPlay does the same for what recordings here do not have.
func TestCodecsPlay(t *testing.T) {
	t.Parallel()
	muxtest.FFmpeg(t)
	s := sluicetest.Start(t)
	for i, m := range []struct {
		name, video, audio string
		sound              bool // that HLS carries
	}{
		{"H.264 with B-frames, AAC", "-c:v libx264 -bf 3 -b_strategy 0 -g 25 -pix_fmt yuv420p", "-c:a aac", true},
		{"H.265 with B-frames, AAC", "-c:v libx265 -pix_fmt yuv420p -x265-params log-level=none:bframes=3:keyint=25:open-gop=0", "-c:a aac", true},
		{"H.264, A-law", "-c:v libx264 -bf 0 -g 25 -pix_fmt yuv420p", "-c:a pcm_alaw -ar 8000 -ac 1", false},
	} {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			source := muxtest.Media(t, "testsrc2=size=320x180:rate=25:duration=4", m.video, m.audio)
			body, err := os.ReadFile(source)
			if err != nil {
				t.Fatal(err)
			}
			name := "made" + strconv.Itoa(i)
			put(t, s, name, body, kvsapi.PutMediaInput{TimecodeType: sluice.TimecodeRelative, ProducerStart: time.Now().Add(-time.Hour).Truncate(time.Millisecond)})
			plays(t, s, name, source, m.sound)
		})
	}
}

func plays(t *testing.T, s *sluicetest.Server, name, source string, sound bool) {
	t.Helper()
	c := s.Client()
	from, to, n := span(t, c, name)
	ref := sluice.StreamRef{Name: name}
	selector := kvsapi.HLSInput{Stream: ref, Mode: kvsapi.OnDemand, Clock: sluice.ProducerClock, From: from, To: to.Add(time.Second), SkipUnsupported: true}
	want := muxtest.Hashes(t, source, "v:0")
	equal := func(t *testing.T, path string, stream string, options ...string) {
		t.Helper()
		if got := muxtest.Hashes(t, path, stream, options...); !slices.Equal(got, want) {
			t.Errorf("%d pictures decode differently from the source's %d", len(got), len(want))
		}
	}
	for _, container := range []string{"FRAGMENTED_MP4", "MPEG_TS"} {
		t.Run(container, func(t *testing.T) {
			in := selector
			in.Container = container
			u, err := c.GetHLSStreamingSessionURL(t.Context(), &in)
			if err != nil {
				t.Fatal(err)
			}
			_, master := get(t, u)
			if strings.Contains(master, "TYPE=AUDIO") != (sound && container == "FRAGMENTED_MP4") {
				t.Errorf("master playlist:\n%s", master)
			}
			lines := strings.Split(strings.TrimSpace(master), "\n")
			media := resolve(t, u, lines[len(lines)-1])
			_, playlist := get(t, media)
			if got := strings.Count(playlist, "#EXTINF"); got != n || !strings.HasSuffix(playlist, "#EXT-X-ENDLIST\n") {
				t.Errorf("%d segments of %d fragments:\n%.800s", got, n, playlist)
			}
			equal(t, u, "v:0")
			if sound {
				a := muxtest.Run(t, "ffmpeg", "-i", u, "-map", "0:a:0", "-f", "s16le", "-")
				b := muxtest.Run(t, "ffmpeg", "-i", source, "-map", "0:a:0", "-f", "s16le", "-")
				if !strings.Contains(b, a[len(a)/4:len(a)/4*3]) {
					t.Error("sound decodes differently from the source's")
				}
			}
		})
	}
	t.Run("DASH", func(t *testing.T) {
		u, err := c.GetDASHStreamingSessionURL(t.Context(), &kvsapi.DASHInput{Stream: ref, Mode: kvsapi.OnDemand, Clock: sluice.ProducerClock, From: selector.From, To: selector.To, DisplayNumber: true})
		if err != nil {
			t.Fatal(err)
		}
		_, manifest := get(t, u)
		if got := strings.Count(manifest, "<S t="); got < n || !strings.Contains(manifest, `kvs:fn="`) {
			t.Errorf("manifest:\n%.2000s", manifest)
		}
		equal(t, u, "v:0")
	})
	t.Run("clip", func(t *testing.T) {
		m, err := c.GetClip(t.Context(), ref, sluice.ProducerClock, selector.From, selector.To)
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		b, err := io.ReadAll(m)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "clip.mp4")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		equal(t, path, "v:0")
	})
}
