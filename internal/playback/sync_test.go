package playback_test

import (
	"encoding/binary"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/mux/muxtest"
	"github.com/sluicevideo/sluice/internal/sluicetest"
	"github.com/sluicevideo/sluice/kvsapi"
)

// TestSoundAndPicture: the demo clip flashes and beeps at each second. In what
// ffmpeg decodes from each kind of session they are within 40 ms of each other.
func TestSoundAndPicture(t *testing.T) {
	t.Parallel()
	muxtest.FFmpeg(t)
	body, err := os.ReadFile("../demo/clip.mkv")
	if err != nil {
		t.Fatal(err)
	}
	s := sluicetest.Start(t)
	begin := time.Now().Add(-time.Hour).Truncate(time.Second)
	put(t, s, "cam", body, kvsapi.PutMediaInput{TimecodeType: sluice.TimecodeRelative, ProducerStart: begin})
	c, ref := s.Client(), sluice.StreamRef{Name: "cam"}
	from, to := begin.Add(-time.Second), begin.Add(time.Minute)
	hls := func(container string) string {
		u, err := c.GetHLSStreamingSessionURL(t.Context(), &kvsapi.HLSInput{Stream: ref, Mode: kvsapi.OnDemand, Clock: sluice.ProducerClock, From: from, To: to, Container: container})
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	dash, err := c.GetDASHStreamingSessionURL(t.Context(), &kvsapi.DASHInput{Stream: ref, Mode: kvsapi.OnDemand, Clock: sluice.ProducerClock, From: from, To: to})
	if err != nil {
		t.Fatal(err)
	}
	m, err := c.GetClip(t.Context(), ref, sluice.ProducerClock, from, to)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	b, err := io.ReadAll(m)
	if err != nil {
		t.Fatal(err)
	}
	for name, input := range map[string]string{
		"source": "../demo/clip.mkv", "HLS": hls(""), "HLS TS": hls("MPEG_TS"), "DASH": dash, "clip": muxtest.Write(t, "clip.mp4", b),
	} {
		t.Run(name, func(t *testing.T) {
			// One file with both, times as they are.
			path := filepath.Join(t.TempDir(), "both.mkv")
			muxtest.Run(t, "ffmpeg", "-i", input, "-map", "0:v:0", "-map", "0:a:0", "-c", "copy", path)
			flashes, beeps := flashes(t, path), beeps(t, path)
			if len(flashes) != 11 || len(beeps) != 11 {
				t.Fatalf("%d flashes, %d beeps in ten seconds: %v, %v", len(flashes), len(beeps), flashes, beeps)
			}
			worst := 0.0
			for i := range flashes {
				worst = max(worst, math.Abs(flashes[i]-beeps[i]))
			}
			t.Logf("at most %.1f ms apart", worst*1000)
			if worst > 0.04 {
				t.Errorf("flashes at %v, beeps at %v", flashes, beeps)
			}
		})
	}
}

// times are the presentation times of a stream's packets, in order.
func times(t *testing.T, path, stream string) (out []float64) {
	t.Helper()
	for line := range strings.Lines(muxtest.Run(t, "ffprobe", "-select_streams", stream, "-show_entries", "packet=pts_time", "-of", "csv=p=0", path)) {
		if f, err := strconv.ParseFloat(strings.Trim(line, ",\n"), 64); err == nil {
			out = append(out, f)
		}
	}
	slices.Sort(out)
	return out
}

// flashes are the times at which the square in the corner turns white.
func flashes(t *testing.T, path string) (out []float64) {
	t.Helper()
	pts := times(t, path, "v:0")
	bright := []byte(muxtest.Run(t, "ffmpeg", "-i", path, "-map", "0:v:0", "-vf", "crop=32:32:600:8,format=gray", "-fps_mode", "passthrough", "-f", "rawvideo", "-"))
	const square = 32 * 32
	if len(bright) != len(pts)*square {
		t.Fatalf("%d pictures, %d times", len(bright)/square, len(pts))
	}
	dark := true
	for i := range pts {
		sum := 0
		for _, b := range bright[i*square : (i+1)*square] {
			sum += int(b)
		}
		v := sum / square
		if v > 200 && dark {
			out = append(out, pts[i])
		}
		dark = v <= 200
	}
	return out
}

// beeps are the times at which sound begins after silence.
func beeps(t *testing.T, path string) (out []float64) {
	t.Helper()
	const rate = 48000
	first := times(t, path, "a:0")[0]
	pcm := []byte(muxtest.Run(t, "ffmpeg", "-i", path, "-map", "0:a:0", "-ac", "1", "-ar", strconv.Itoa(rate), "-f", "s16le", "-"))
	quiet := rate
	for i := 0; i+1 < len(pcm); i += 2 {
		v := int(int16(binary.LittleEndian.Uint16(pcm[i:])))
		if v > 3000 || v < -3000 {
			if quiet > rate/2 {
				out = append(out, first+float64(i/2)/rate)
			}
			quiet = 0
		} else {
			quiet++
		}
	}
	return out
}
