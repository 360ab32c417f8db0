// Package gst_test runs the GStreamer elements as people do: with gst-launch-1.0,
// from Python and from C, against a server of its own.
package gst_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/sluicetest"
	"github.com/sluicevideo/sluice/kvsapi"
	"github.com/sluicevideo/sluice/parser"
)

// stuck is when a program that should have ended long ago is killed.
const stuck = 5 * time.Minute

// built is the plugin's folder and a registry of its own, made once.
var built = sync.OnceValues(func() (dir string, err error) {
	dir, err = filepath.Abs("../build/gst")
	if err != nil {
		return "", err
	}
	if out, err := exec.Command("make", "OUT="+dir).CombinedOutput(); err != nil {
		return "", fmt.Errorf("make: %w\n%s", err, out)
	}
	// The registry is filled here, so that tests do not all scan at once.
	cmd := exec.Command("gst-inspect-1.0", "kvssink")
	cmd.Env = environ(dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("gst-inspect-1.0 kvssink: %w\n%s", err, out)
	}
	return dir, nil
})

func environ(dir string) []string {
	var env []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "AWS_") && !strings.HasPrefix(v, "HOME=") && !strings.HasPrefix(v, "GST_") {
			env = append(env, v)
		}
	}
	return append(env, "GST_PLUGIN_PATH="+dir, "GST_REGISTRY="+filepath.Join(dir, "registry.bin"), "GST_REGISTRY_FORK=yes", "HOME="+dir)
}

// need skips a test without a tool, and gives the plugin's folder.
func need(t *testing.T, tools ...string) string {
	t.Helper()
	for _, tool := range append([]string{"gst-launch-1.0", "pkg-config", "gcc", "make"}, tools...) {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed", tool)
		}
	}
	if err := exec.Command("pkg-config", "--exists", "gstreamer-1.0").Run(); err != nil {
		t.Skip("libgstreamer1.0-dev is not installed")
	}
	dir, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// python skips a test without Python's GStreamer.
func python(t *testing.T) {
	t.Helper()
	need(t)
	if err := exec.Command("/usr/bin/python3", "-c", "import gi; gi.require_version('Gst', '1.0'); from gi.repository import Gst").Run(); err != nil {
		t.Skip("python3-gi with gir1.2-gstreamer-1.0 is not installed")
	}
}

// program prepares a program that finds the plugin and, unless srv is nil, the
// server. It is killed when it is stuck.
func program(t *testing.T, srv *sluicetest.Server, name string, args ...string) *exec.Cmd {
	t.Helper()
	dir := need(t)
	ctx, cancel := context.WithTimeout(t.Context(), stuck)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = environ(dir)
	if srv != nil {
		cmd.Env = append(cmd.Env, srv.Environ()...)
	}
	cmd.Dir = t.TempDir()
	return cmd
}

func run(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(cmd.Args, " "), err, tail(out))
	}
	return string(out)
}

func tail(b []byte) []byte { return b[max(0, len(b)-6000):] }

// launch runs a pipeline, given as on a command line, to its end.
func launch(t *testing.T, srv *sluicetest.Server, pipeline string) string {
	t.Helper()
	return run(t, program(t, srv, "gst-launch-1.0", append([]string{"-q"}, words(pipeline)...)...))
}

// words splits as a shell does, with double quotes and line continuations.
func words(line string) []string {
	var all []string
	var b strings.Builder
	quoted, some := false, false
	for _, c := range strings.ReplaceAll(line, "\\\n", " ") {
		switch {
		case c == '"':
			quoted, some = !quoted, true
		case !quoted && (c == ' ' || c == '\n' || c == '\t'):
			if some {
				all = append(all, b.String())
			}
			b.Reset()
			some = false
		default:
			b.WriteRune(c)
			some = true
		}
	}
	if some {
		all = append(all, b.String())
	}
	return all
}

// script runs a Python program of testdata.
func script(t *testing.T, srv *sluicetest.Server, name string, args ...string) string {
	t.Helper()
	return run(t, pythonProgram(t, srv, name, args...))
}

func pythonProgram(t *testing.T, srv *sluicetest.Server, name string, args ...string) *exec.Cmd {
	t.Helper()
	python(t)
	path, err := filepath.Abs(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	cmd := program(t, srv, "/usr/bin/python3", append([]string{"-B", path}, args...)...)
	return cmd
}

// frame is one that the server has, or that stands in a file.
type frame struct {
	track  uint64
	video  bool
	pts    time.Time
	offset time.Duration // of pts, from the first frame of all
	key    bool
	data   []byte
	info   *sluice.Track
}

type media struct {
	frames []frame
	tags   [][]sluice.Tag // of each fragment
	starts []time.Time    // producer time of each fragment
}

func (m media) of(video bool) []frame {
	var out []frame
	for _, f := range m.frames {
		if f.video == video {
			out = append(out, f)
		}
	}
	return out
}

// stored reads all that a stream has, through GetMedia.
func stored(t *testing.T, srv *sluicetest.Server, stream string) media {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), stuck)
	defer cancel()
	var last sluice.FragmentNumber
	in := kvsapi.ListFragmentsInput{Stream: sluice.StreamRef{Name: stream}, From: time.Unix(1, 0), To: time.Now().Add(time.Hour)}
	for f, err := range parser.List(ctx, srv.Client(), in) {
		if err != nil {
			t.Fatal(err)
		}
		if f.Number.Compare(last) > 0 {
			last = f.Number
		}
	}
	if last.IsZero() {
		t.Fatalf("stream %s has no fragment", stream)
	}
	var m media
	follow := parser.Follower{Client: srv.Client(), Stream: in.Stream, From: sluice.StartSelector{Type: sluice.SelectEarliest}}
	for f, err := range follow.Fragments(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		m.tags = append(m.tags, f.Tags)
		m.starts = append(m.starts, f.Producer)
		begin := time.Duration(f.Timecode) * f.Scale
		for _, one := range f.Frames {
			m.add(frame{track: one.Track, pts: f.Producer.Add(one.Timecode - begin), key: one.Key, data: one.Data, info: f.Track(one.Track)})
		}
		if f.Number.Compare(last) >= 0 {
			break
		}
	}
	return m
}

// arrived returns when a stream has so many fragments.
func arrived(t *testing.T, srv *sluicetest.Server, stream string, n int) {
	t.Helper()
	for end := time.Now().Add(stuck); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		in := kvsapi.ListFragmentsInput{Stream: sluice.StreamRef{Name: stream}, From: time.Unix(1, 0), To: time.Now().Add(time.Hour)}
		if list, _, err := srv.Client().ListFragments(t.Context(), &in); err == nil && len(list) >= n {
			return
		}
	}
	t.Fatalf("stream %s has not %d fragments", stream, n)
}

// file reads the frames of a Matroska file, as the reference of a test.
func file(t *testing.T, path string) media {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var m media
	for f, err := range parser.NewReader(bytes.NewReader(b)).Frames(t.Context()) {
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		m.add(frame{track: f.Track, pts: time.Unix(0, int64(f.Timecode)), key: f.Key, data: slices.Clone(f.Data), info: f.Info})
	}
	return m
}

func (m *media) add(f frame) {
	if f.info == nil {
		return
	}
	f.video = f.info.Type == sluice.TrackVideo
	if len(m.frames) > 0 {
		f.offset = f.pts.Sub(m.frames[0].pts)
	}
	m.frames = append(m.frames, f)
}

// same compares frames with those of a reference: as many, the same bytes when
// exact, and the same distances in time within a tick.
func same(t *testing.T, what string, got, want []frame, exact bool) {
	t.Helper()
	if len(got) != len(want) || len(got) == 0 {
		t.Fatalf("%s: %d frames, want %d", what, len(got), len(want))
	}
	for i := range got {
		if exact && !bytes.Equal(got[i].data, want[i].data) {
			t.Errorf("%s: frame %d has %d bytes that differ from %d", what, i, len(got[i].data), len(want[i].data))
		}
		g, w := got[i].pts.Sub(got[0].pts), want[i].pts.Sub(want[0].pts)
		if d := (g - w).Abs(); d > 2*time.Millisecond {
			t.Errorf("%s: frame %d is at %v, want %v", what, i, g, w)
		}
		if t.Failed() {
			return
		}
	}
}

// pictures decodes frames of H.264 or H.265 and gives a hash of each picture.
func pictures(t *testing.T, frames []frame) []string {
	t.Helper()
	need(t, "ffmpeg")
	if len(frames) == 0 {
		t.Fatal("nothing to decode")
	}
	var es bytes.Buffer
	var cpd []byte
	for _, f := range frames {
		if f.key && !bytes.Equal(cpd, f.info.CodecPrivate) {
			cpd = f.info.CodecPrivate
			for _, nal := range parameterSets(f.info.CodecID, cpd) {
				es.Write(append([]byte{0, 0, 0, 1}, nal...))
			}
		}
		for d := f.data; len(d) > 4; {
			n := int(d[0])<<24 | int(d[1])<<16 | int(d[2])<<8 | int(d[3])
			if n+4 > len(d) {
				t.Fatalf("a frame is not length-prefixed: % x", d[:8])
			}
			es.Write(append([]byte{0, 0, 0, 1}, d[4:4+n]...))
			d = d[4+n:]
		}
	}
	form := "h264"
	if frames[0].info.CodecID == "V_MPEGH/ISO/HEVC" {
		form = "hevc"
	}
	return decode(t, &es, "-f", form, "-i", "pipe:0")
}

// decode gives ffmpeg's hash of each picture that it decodes from an input.
func decode(t *testing.T, in io.Reader, args ...string) []string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "ffmpeg", append(append([]string{"-loglevel", "error"}, args...), "-map", "0:v", "-fps_mode", "passthrough", "-pix_fmt", "yuv420p", "-f", "framemd5", "-")...)
	cmd.Stdin = in
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("ffmpeg: %v", err)
	}
	var hashes []string
	for line := range strings.Lines(string(out)) {
		if line[0] != '#' {
			hashes = append(hashes, strings.TrimSpace(line[strings.LastIndexByte(line, ',')+1:]))
		}
	}
	return hashes
}

// parameterSets are the NAL units of an avcC or hvcC record.
func parameterSets(codec string, b []byte) (nals [][]byte) {
	take := func(n int) []byte { r := b[:n]; b = b[n:]; return r }
	one := func() {
		l := take(2)
		nals = append(nals, take(int(l[0])<<8|int(l[1])))
	}
	if codec == "V_MPEG4/ISO/AVC" {
		take(5)
		for range take(1)[0] & 31 {
			one()
		}
		for range take(1)[0] {
			one()
		}
		return nals
	}
	take(22)
	for range take(1)[0] {
		h := take(3)
		for range int(h[1])<<8 | int(h[2]) {
			one()
		}
	}
	return nals
}
