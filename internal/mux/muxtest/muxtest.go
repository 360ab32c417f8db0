// Package muxtest helps the tests of containers and playback: it makes media
// with ffmpeg, cuts them into fragments as ingestion does, and asks ffmpeg and
// ffprobe what they see in the result. It is for tests only.
package muxtest

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sluicevideo/sluice/fragment"
	"github.com/sluicevideo/sluice/internal/mux"
)

// Fragment is a fragment as it was in the file.
type Fragment struct {
	Timecode time.Duration // of its Cluster
	Bytes    []byte
	Frames   fragment.Index
}

// Samples are the frames of one track on a timeline that begins at base.
func (f *Fragment) Samples(track uint32, base time.Duration) []mux.Sample {
	var s []mux.Sample
	for _, e := range f.Frames {
		if e.Track == track {
			s = append(s, mux.Sample{Data: f.Bytes[e.Offset : e.Offset+e.Size], PTS: e.Timecode - base, Duration: e.Duration, Key: e.Key})
		}
	}
	return s
}

// Read cuts a Matroska file into fragments.
func Read(tb testing.TB, path string) (*fragment.Header, []Fragment) {
	tb.Helper()
	body, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	return Split(tb, body)
}

// Split cuts the bytes of a Matroska file, or of a PutMedia body, into fragments.
func Split(tb testing.TB, body []byte) (*fragment.Header, []Fragment) {
	tb.Helper()
	var header *fragment.Header
	var out []Fragment
	r := fragment.NewReader(fragment.Options{})
	r.Feed(body)
	closed := false
	for {
		ev, err := r.Next()
		switch {
		case errors.Is(err, fragment.ErrMore) && !closed:
			r.Close()
			closed = true
			continue
		case errors.Is(err, io.EOF), errors.Is(err, fragment.ErrMore):
			return header, out
		case err != nil:
			tb.Fatal(err)
		}
		switch ev.Kind {
		case fragment.HeaderComplete:
			header = ev.Header
		case fragment.Begin:
			out = append(out, Fragment{Timecode: time.Duration(ev.Timecode) * header.Scale})
		case fragment.Elements:
			f := &out[len(out)-1]
			f.Bytes = append(f.Bytes, ev.Bytes...)
			f.Frames = append(f.Frames, ev.Frames...)
		}
	}
}

// FFmpeg skips the test when ffmpeg or ffprobe is not installed.
func FFmpeg(tb testing.TB) {
	tb.Helper()
	for _, name := range []string{"ffmpeg", "ffprobe"} {
		if _, err := exec.LookPath(name); err != nil {
			tb.Skipf("%s is not installed", name)
		}
	}
}

// Media makes a Matroska file with ffmpeg in the test's own directory: video
// and audio are its options for each, audio may be empty. A Cluster begins at
// every key frame, so every fragment can be decoded alone.
func Media(tb testing.TB, input, video, audio string) string {
	tb.Helper()
	FFmpeg(tb)
	path := filepath.Join(tb.TempDir(), "source.mkv")
	args := []string{"-f", "lavfi", "-i", input}
	if audio != "" {
		args = append(args, "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000:duration=4")
	}
	args = append(args, strings.Fields(video)...)
	args = append(args, strings.Fields(audio)...)
	args = append(args, "-shortest", "-cluster_time_limit", "20000", "-cluster_size_limit", "50000000", path)
	Run(tb, "ffmpeg", args...)
	return path
}

// Run runs ffmpeg or ffprobe and returns its standard output. Anything on its
// standard error fails the test: warnings count.
func Run(tb testing.TB, name string, args ...string) string {
	tb.Helper()
	args = append([]string{"-hide_banner", "-loglevel", "warning"}, args...)
	if name == "ffmpeg" {
		args = append([]string{"-nostdin", "-y"}, args...)
	}
	cmd := exec.CommandContext(tb.Context(), name, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		tb.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, errs.String())
	}
	for line := range strings.Lines(errs.String()) {
		// Said of G.711 in the source file too: WAVE has no layout for it.
		if !strings.Contains(line, "Guessed Channel Layout") {
			tb.Errorf("%s %s says: %s", name, strings.Join(args, " "), line)
		}
	}
	return out.String()
}

// Hashes are the MD5 sums of the decoded frames of a stream, such as v:0, in
// order of presentation.
func Hashes(tb testing.TB, path, stream string, options ...string) []string {
	tb.Helper()
	args := append(options, "-i", path, "-map", "0:"+stream, "-fps_mode", "passthrough", "-f", "framemd5", "-")
	if strings.HasPrefix(stream, "a") {
		args = append(options, "-i", path, "-map", "0:"+stream, "-f", "framemd5", "-")
	}
	var sums []string
	for line := range strings.Lines(Run(tb, "ffmpeg", args...)) {
		if fields := strings.Split(line, ","); len(fields) == 6 && !strings.HasPrefix(line, "#") {
			sums = append(sums, strings.TrimSpace(fields[5]))
		}
	}
	if len(sums) == 0 {
		tb.Fatalf("%s: no frames in stream %s", path, stream)
	}
	return sums
}

// Write writes slices to a file in the test's own directory and returns its path.
func Write(tb testing.TB, name string, pieces ...[]byte) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), name)
	if err := os.WriteFile(path, bytes.Join(pieces, nil), 0o600); err != nil {
		tb.Fatal(err)
	}
	return path
}
