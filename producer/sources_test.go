package producer_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/kvsapi"
	"github.com/sluicevideo/sluice/producer"
)

func ffmpeg(t testing.TB, args ...string) []byte {
	t.Helper()
	if _, err := exec.LookPath("ffmpeg"); err != nil {
		t.Skip("needs ffmpeg")
	}
	cmd := exec.Command("ffmpeg", append([]string{"-v", "error", "-nostdin", "-y"}, args...)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("ffmpeg %v: %v\n%s", args, err, errs.Bytes())
	}
	return out.Bytes()
}

// hashes are the MD5 sums of the decoded pictures or sound of a file.
func hashes(t testing.TB, path, stream string) (sums []string) {
	t.Helper()
	for line := range strings.Lines(string(ffmpeg(t, "-i", path, "-map", "0:"+stream, "-fps_mode", "passthrough", "-f", "framemd5", "-"))) {
		if f := strings.Split(strings.TrimSpace(line), ","); len(f) == 6 && !strings.HasPrefix(line, "#") {
			sums = append(sums, strings.TrimSpace(f[5]))
		}
	}
	return sums
}

// sent is what the sessions of the double sent, each a Matroska file.
func sent(t testing.TB, d *double, n int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), fmt.Sprintf("session%d.mkv", n))
	d.mu.Lock()
	body := d.sessions[n-1].body
	d.mu.Unlock()
	if err := os.WriteFile(path, body, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func play(t testing.TB, d *double, src producer.MediaSource, info *producer.StreamInfo) *producer.Registration {
	t.Helper()
	c := d.client()
	r, err := c.Register(t.Context(), "cam", src, info)
	if err != nil {
		t.Fatal(err)
	}
	r.Start(t.Context())
	if err := r.Wait(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	report, err := r.Free(ctx)
	if err != nil || len(report.Undelivered) > 0 {
		t.Fatalf("%v, undelivered %v", err, report.Undelivered)
	}
	return r
}

const (
	testVideo = "testsrc=size=160x120:rate=25:duration=4"
	testSound = "sine=frequency=440:sample_rate=8000:duration=4"
)

func TestSources(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	x264 := []string{"-c:v", "libx264", "-g", "25", "-pix_fmt", "yuv420p"}
	x265 := []string{"-c:v", "libx265", "-x265-params", "log-level=error:keyint=25:min-keyint=25:open-gop=0", "-pix_fmt", "yuv420p"}
	for name, c := range map[string]struct {
		file   string
		args   []string
		sound  bool
		source func(path string, o producer.FileOptions) producer.MediaSource
		codec  string
	}{
		"h264 annex b":     {"a.h264", append([]string{"-bf", "0"}, x264...), false, annexB, "V_MPEG4/ISO/AVC"},
		"h264 b-frames":    {"a.h264", append([]string{"-bf", "2"}, x264...), false, annexB, "V_MPEG4/ISO/AVC"},
		"h265 annex b":     {"a.h265", append([]string{"-bf", "0"}, x265...), false, annexB, "V_MPEGH/ISO/HEVC"},
		"h264 mkv":         {"a.mkv", append([]string{"-bf", "0"}, x264...), true, mkvFile, "V_MPEG4/ISO/AVC"},
		"h264 mp4":         {"a.mp4", append([]string{"-bf", "2"}, x264...), true, mp4File, "V_MPEG4/ISO/AVC"},
		"h265 mp4":         {"a.mp4", append([]string{"-bf", "2"}, x265...), true, mp4File, "V_MPEGH/ISO/HEVC"},
		"h264 fmp4":        {"a.mp4", append([]string{"-bf", "2", "-movflags", "frag_keyframe+empty_moov"}, x264...), true, mp4File, "V_MPEG4/ISO/AVC"},
		"mjpeg mkv":        {"a.mkv", []string{"-c:v", "mjpeg", "-q:v", "3"}, false, mkvFile, "V_MJPEG"},
		"h264 g.711 a mkv": {"a.mkv", append([]string{"-bf", "0", "-c:a", "pcm_alaw"}, x264...), true, mkvFile, "V_MPEG4/ISO/AVC"},
		"h264 g.711 µ mkv": {"a.mkv", append([]string{"-bf", "0", "-c:a", "pcm_mulaw"}, x264...), true, mkvFile, "V_MPEG4/ISO/AVC"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), c.file)
			args := []string{"-f", "lavfi", "-i", testVideo}
			if c.sound {
				args = append(args, "-f", "lavfi", "-i", testSound)
				if !slices.Contains(c.args, "-c:a") {
					args = append(args, "-c:a", "aac")
				}
			}
			ffmpeg(t, append(append(args, c.args...), path)...)
			d := newDouble(t)
			play(t, d, c.source(path, producer.FileOptions{Start: start}), nil)
			out := sent(t, d, 1)
			if got, want := hashes(t, out, "v"), hashes(t, path, "v"); !slices.Equal(got, want) || len(got) != 100 {
				t.Errorf("%d decoded pictures, want %d, equal %v", len(got), len(want), slices.Equal(got, want))
			}
			if c.sound {
				// What sounds before the first picture belongs to no fragment, and a decoder
				// of AAC carries one frame over into the next.
				got, want := hashes(t, out, "a"), hashes(t, path, "a")
				if n := len(got) - 2; n < 20 || len(want)-n > 4 || !slices.Equal(got[len(got)-n:], want[len(want)-n:]) {
					t.Errorf("sound: %d frames, want %d", len(got), len(want))
				}
			}
			all := d.fragments()
			if tr := all[0].header.Tracks[0]; tr.CodecID != c.codec || tr.Video == nil || tr.Video.Width != 160 || tr.Video.Height != 120 {
				t.Errorf("track: %+v", tr)
			}
			// MP4 moves times by less than a frame (edit lists); all else starts exactly.
			if off := all[0].producer.Sub(start).Abs(); off > 100*time.Millisecond {
				t.Errorf("begins at %v, want %v", all[0].producer, start)
			}
			if m := d.session(2); m != nil {
				t.Error("more than one session")
			}
		})
	}
}

func annexB(path string, o producer.FileOptions) producer.MediaSource {
	return producer.AnnexBFile(path, 25, o)
}
func mkvFile(path string, o producer.FileOptions) producer.MediaSource {
	return producer.MKVFile(path, o)
}
func mp4File(path string, o producer.FileOptions) producer.MediaSource {
	return producer.MP4File(path, o)
}

// The codec private data that is built from the stream is what ffmpeg builds.
func TestCodecPrivateEqualsFFmpegs(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ ext, enc, params string }{{"h264", "libx264", "keyint=25:bframes=0"}, {"h265", "libx265", "keyint=25:bframes=0:log-level=error"}} {
		t.Run(c.ext, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			raw, ref := filepath.Join(dir, "a."+c.ext), filepath.Join(dir, "a.mkv")
			ffmpeg(t, "-f", "lavfi", "-i", testVideo, "-c:v", c.enc, "-"+strings.Replace(c.enc, "lib", "", 1)+"-params", c.params, "-pix_fmt", "yuv420p", raw)
			ffmpeg(t, "-i", raw, "-c", "copy", ref)
			d := newDouble(t)
			play(t, d, annexB(raw, producer.FileOptions{}), nil)
			ours := d.fragments()[0].header.Tracks[0].CodecPrivate
			d = newDouble(t)
			play(t, d, mkvFile(ref, producer.FileOptions{}), nil)
			theirs := d.fragments()[0].header.Tracks[0].CodecPrivate
			if !bytes.Equal(ours, theirs) {
				t.Errorf("codec private data\n%x, ffmpeg's\n%x", ours, theirs)
			}
		})
	}
}

func TestImageFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ffmpeg(t, "-f", "lavfi", "-i", "testsrc=size=160x120:rate=25:duration=2", "-q:v", "3", filepath.Join(dir, "frame-%03d.jpg"))
	d := newDouble(t)
	start := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	play(t, d, &producer.ImageFileMediaSource{Dir: dir, FPS: 10, FileOptions: producer.FileOptions{Start: start}}, nil)
	all := d.fragments()
	got := payloads(all)
	if len(got) != 50 {
		t.Fatalf("%d pictures", len(got))
	}
	for i, p := range got {
		want, err := os.ReadFile(filepath.Join(dir, fmt.Sprintf("frame-%03d.jpg", i+1)))
		if err != nil || p != string(want) {
			t.Fatalf("picture %d is another", i+1)
		}
	}
	if len(all) != 3 || !all[2].producer.Equal(start.Add(4*time.Second)) {
		t.Errorf("%d fragments, the last at %v", len(all), all[len(all)-1].producer)
	}
	if n := len(hashes(t, sent(t, d, 1), "v")); n != 50 {
		t.Errorf("ffmpeg decodes %d pictures", n)
	}
	if _, err := d.client().Register(t.Context(), "x", &producer.ImageFileMediaSource{Dir: t.TempDir()}, nil); err == nil {
		t.Error("an empty directory is taken")
	}
}

func TestLoop(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.mp4")
	ffmpeg(t, "-f", "lavfi", "-i", "testsrc=size=64x48:rate=25:duration=2", "-c:v", "libx264", "-g", "25", "-bf", "2", path)
	d := newDouble(t)
	r, err := d.client().Register(t.Context(), "cam", mp4File(path, producer.FileOptions{Loop: true, Start: epoch}), &producer.StreamInfo{Timecodes: sluice.TimecodeRelative})
	if err != nil {
		t.Fatal(err)
	}
	r.Start(t.Context())
	all := d.wait(func(all []stored) bool { return len(all) >= 10 })
	if err := r.Stop(); err != nil {
		t.Error(err)
	}
	for i, f := range all {
		if off := f.producer.Sub(epoch.Add(time.Duration(i) * time.Second)).Abs(); off > 100*time.Millisecond {
			t.Errorf("fragment %d at %v", i, f.producer)
		}
	}
	if s := r.Stream().Metrics(); s.RepairedFrames > 0 {
		t.Errorf("%d times repaired", s.RepairedFrames)
	}
}

func TestRealtimePace(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.mkv")
	ffmpeg(t, "-f", "lavfi", "-i", "testsrc=size=64x48:rate=25:duration=1", "-c:v", "libx264", "-g", "5", "-bf", "0", path)
	d := newDouble(t)
	began := time.Now()
	play(t, d, mkvFile(path, producer.FileOptions{Realtime: true}), nil)
	if took := time.Since(began); took < 950*time.Millisecond {
		t.Errorf("a second of media in %v", took)
	}
}

func TestPutMediaClient(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.mkv")
	ffmpeg(t, "-f", "lavfi", "-i", testVideo, "-c:v", "libx264", "-g", "25", "-bf", "0", "-f", "matroska", path)
	media, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	d := newDouble(t)
	d.exists = true
	c, err := kvsapi.New(t.Context(), d.options().Service)
	if err != nil {
		t.Fatal(err)
	}
	var acks []sluice.Ack
	began := time.Now()
	kbps := len(media) * 8 / 1000 // a second's worth
	sum, err := producer.PutMedia(t.Context(), producer.PutMediaInput{
		Client: c, Stream: sluice.StreamRef{Name: "cam"}, Media: bytes.NewReader(media), Timecodes: sluice.TimecodeRelative, Start: epoch,
		MaxKbps: kbps, OnAck: func(a sluice.Ack) { acks = append(acks, a) },
	})
	if err != nil || sum.Bytes != int64(len(media)) || sum.Persisted != 4 || len(acks) != 12 {
		t.Errorf("%+v, %v, acks %v", sum, err, acks)
	}
	if took := time.Since(began); took < 600*time.Millisecond || took > time.Minute {
		t.Errorf("took %v at a rate for one second", took)
	}
	if d.session(1); string(d.sessions[0].body) != string(media) {
		t.Error("the media was changed on the way")
	}
	d.onComplete = func(*doubleSession, *stored) verdict { return verdict{err: sluice.InvalidMKVData} }
	if _, err = producer.PutMedia(t.Context(), producer.PutMediaInput{Client: c, Stream: sluice.StreamRef{Name: "cam"}, Media: bytes.NewReader(media)}); err == nil {
		t.Error("an error acknowledgement is no error")
	}
}
