package mkv_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/mediatest"
	"github.com/sluicevideo/sluice/mkv"
)

// tool is the path of a program, or the reason why the test is skipped.
func tool(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed", name)
	}
	return path
}

// parse is the tracks and frames of a file.
func parse(t testing.TB, in []byte) ([]sluice.Track, []sluice.Frame) {
	t.Helper()
	d := mkv.NewDemuxer(mkv.Options{})
	d.Feed(in)
	d.Close()
	var frames []sluice.Frame
	for {
		ev, err := d.Next()
		if errors.Is(err, io.EOF) {
			return d.Tracks(), frames
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range ev.Frames {
			frames = append(frames, f.Frame)
		}
	}
}

// save writes frames to a new file.
func save(t testing.TB, tracks []sluice.Track, frames []sluice.Frame, o mkv.FileOptions) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "out.mkv")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w, err := mkv.NewFileWriter(f, tracks, o)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range frames {
		if err := w.WriteFrame(x); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := w.WriteFrame(sluice.Frame{Track: 1}); !errors.Is(err, mkv.ErrFrame) {
		t.Errorf("a frame after Close: %v", err)
	}
	return path
}

func TestFileKeepsFrames(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"video-h264-01", "av-h264-aac-01", "video-h264-relative-01"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tracks, frames := parse(t, mediatest.File(t, "putmedia-captures/"+name+".body.mkv"))
			path := save(t, tracks, frames, mkv.FileOptions{Info: mkv.Info{UUID: [16]byte{1}, MuxingApp: "t", WritingApp: "t"}, Tags: []sluice.Tag{{Name: "TITLE", Value: name}}})
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			tracks2, frames2 := parse(t, b)
			if !reflect.DeepEqual(tracks, tracks2) {
				t.Errorf("tracks %+v became %+v", tracks, tracks2)
			}
			start := frames[0].Timecode
			for i := range frames {
				frames[i].Timecode -= start
			}
			if !reflect.DeepEqual(frames, frames2) {
				t.Error("other frames")
			}
			clean(t, path)
		})
	}
}

// clean asks the tools that are there what they think of a file.
func clean(t *testing.T, path string) {
	t.Helper()
	if probe, err := exec.LookPath("ffprobe"); err == nil {
		out, err := exec.Command(probe, "-v", "warning", "-show_packets", "-show_format", path).CombinedOutput()
		if err != nil || bytes.Contains(out, []byte("[matroska")) {
			t.Errorf("ffprobe: %v\n%.2000s", err, out)
		}
		if !strings.Contains(string(out), "duration=") || strings.Contains(string(out), "\nduration=N/A") {
			t.Error("ffprobe finds no duration")
		}
	} else {
		t.Log("ffprobe is not installed")
	}
	if info, err := exec.LookPath("mkvinfo"); err == nil {
		out, err := exec.Command(info, path).CombinedOutput()
		if err != nil || bytes.Contains(out, []byte("(MKVInfo) ")) || bytes.Contains(out, []byte("Error")) {
			t.Errorf("mkvinfo: %v\n%.2000s", err, out)
		}
	} else {
		t.Log("mkvinfo is not installed")
	}
}

// The decoded pictures and sound are the same before and after, and seeking
// finds the same picture.
func TestFileDecodesTheSame(t *testing.T) {
	t.Parallel()
	ffmpeg := tool(t, "ffmpeg")
	name := filepath.Join(mediatest.Dir(t), "putmedia-captures", "av-h264-aac-01.body.mkv")
	tracks, frames := parse(t, mediatest.File(t, "putmedia-captures/av-h264-aac-01.body.mkv"))
	path := save(t, tracks, frames, mkv.FileOptions{Info: mkv.Info{MuxingApp: "t", WritingApp: "t"}})
	hashes := func(path string, before ...string) string {
		args := append([]string{"-v", "error", "-nostdin"}, before...)
		out, err := exec.Command(ffmpeg, append(args, "-i", path, "-map", "0", "-f", "streamhash", "-")...).CombinedOutput()
		if err != nil {
			t.Fatalf("ffmpeg: %v\n%s", err, out)
		}
		return string(out)
	}
	if a, b := hashes(name), hashes(path); a != b || strings.Count(a, "SHA256=") != 2 {
		t.Errorf("decoded before:\n%safter:\n%s", a, b)
	}
	if out := hashes(path, "-ss", "20"); strings.Count(out, "SHA256=") != 2 {
		t.Errorf("from 20 s: %s", out)
	}
}

func TestFileEdges(t *testing.T) {
	t.Parallel()
	video := sluice.Track{Number: 1, Type: sluice.TrackVideo, CodecID: "V_MPEG4/ISO/AVC"}
	words := sluice.Track{Number: 300, UID: 7, Type: sluice.TrackSubtitle, CodecID: "S_TEXT/UTF8", Language: "ger", Name: "words"}
	ms := time.Millisecond
	frames := []sluice.Frame{
		{Track: 1, Key: true, Timecode: 100 * ms, Data: []byte("key")},
		{Track: 1, Timecode: 90 * ms, Data: []byte("before the key frame"), Discardable: true},
		{Track: 300, Key: true, Timecode: 110 * ms, Duration: 700 * ms, Data: []byte("hello")},
		{Track: 1, Timecode: 40 * time.Second, Data: bytes.Repeat([]byte("x"), 6<<20), Invisible: true},
		{Track: 1, Key: true, Timecode: 41 * time.Second, Data: []byte{}},
	}
	b, err := os.ReadFile(save(t, []sluice.Track{words, video}, frames, mkv.FileOptions{}))
	if err != nil {
		t.Fatal(err)
	}
	_, got := parse(t, b)
	for i := range frames {
		frames[i].Timecode -= 100 * ms
	}
	if !reflect.DeepEqual(got, frames) {
		t.Errorf("other frames: %.300v", got)
	}
	empty, err := os.ReadFile(save(t, []sluice.Track{video}, nil, mkv.FileOptions{}))
	if err != nil {
		t.Fatal(err)
	}
	if tracks, frames := parse(t, empty); len(tracks) != 1 || len(frames) != 0 {
		t.Errorf("an empty file: %v, %v", tracks, frames)
	}
	if _, err := mkv.NewFileWriter(nil, []sluice.Track{video, video}, mkv.FileOptions{}); !errors.Is(err, mkv.ErrFrame) {
		t.Errorf("a track twice: %v", err)
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "x"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w, err := mkv.NewFileWriter(f, []sluice.Track{video}, mkv.FileOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.WriteFrame(sluice.Frame{Track: 2}); !errors.Is(err, mkv.ErrFrame) {
		t.Errorf("no such track: %v", err)
	}
	if err := w.WriteFrame(sluice.Frame{Track: 1, Timecode: 50 * time.Second}); err != nil {
		t.Error(err)
	}
	if err := w.WriteFrame(sluice.Frame{Track: 1}); !errors.Is(err, mkv.ErrFrame) {
		t.Errorf("long before the start: %v", err)
	}
}

// The functions for live streams write what the native producers write: their
// recordings come out of them again, byte for byte.
func TestAppendEqualsTheNativeProducer(t *testing.T) {
	t.Parallel()
	in := mediatest.File(t, "putmedia-captures/av-h264-aac-01.body.mkv")
	d := mkv.NewDemuxer(mkv.Options{})
	d.Feed(in)
	d.Close()
	var out []byte
	differs := func(at int64, raw []byte) bool { return !bytes.HasPrefix(in[at:], raw) }
	for {
		ev, err := d.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		ticks, _ := d.ClusterTimestamp()
		switch {
		case ev.ID == mkv.IDSegment && ev.Kind == mkv.Start:
			out = mkv.AppendSegment(nil)
		case ev.ID == mkv.IDTimestamp:
			// AppendCluster writes the Cluster, this and the Position behind it.
			if b := mkv.AppendCluster(nil, uint64(ticks)); differs(ev.Offset-5, b) {
				t.Errorf("Cluster at %d differs: %x", ev.Offset, b)
			}
			continue
		case len(ev.Frames) == 1:
			f := ev.Frames[0].Frame
			out = mkv.AppendSimpleBlock(nil, int16(int64(f.Timecode/time.Millisecond)-ticks), &f)
		case ev.ID == mkv.IDTracks && ev.Kind == mkv.End:
			out = mkv.AppendTracks(nil, d.Tracks())
		case len(ev.Tags) > 0:
			var tags []sluice.Tag
			for _, x := range ev.Tags {
				tags = append(tags, x.Tag)
			}
			out = mkv.AppendTags(nil, tags...)
		default:
			continue
		}
		if differs(ev.Offset, out) {
			t.Errorf("%s at %d differs:\n%.100x\n%.100x", mkv.Name(ev.ID), ev.Offset, out, in[ev.Offset:][:min(100, len(out))])
		}
	}
	if !bytes.HasPrefix(in, mkv.AppendHeader(nil)) {
		t.Error("the EBML header differs")
	}
}
