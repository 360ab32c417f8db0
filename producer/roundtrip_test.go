package producer_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/cli"
	"github.com/sluicevideo/sluice/internal/codec"
	"github.com/sluicevideo/sluice/internal/sluicetest"
	"github.com/sluicevideo/sluice/mkv"
	"github.com/sluicevideo/sluice/producer"
)

// getMedia saves what GetMedia sends of a stream, from its beginning to now.
func getMedia(t testing.TB, srv *sluicetest.Server, stream string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "out.mkv")
	var errs bytes.Buffer
	env := &cli.Env{Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: &errs, Environ: srv.Environ(), Now: time.Now}
	if code := cli.Run(context.Background(), []string{"get", stream, "--from", "earliest", "--to", "now", "-o", path}, env); code != 0 {
		t.Fatalf("get %s: %d\n%s", stream, code, errs.String())
	}
	return path
}

// demux reads a Matroska file whole.
func demux(t testing.TB, path string) (tracks []sluice.Track, frames []mkv.Frame) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	d := mkv.NewDemuxer(mkv.Options{})
	d.Feed(b)
	d.Close()
	for {
		ev, err := d.Next()
		if errors.Is(err, io.EOF) {
			return d.Tracks(), frames
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range ev.Frames {
			f.Data = slices.Clone(f.Data)
			frames = append(frames, f)
		}
	}
}

// An elementary stream of ffmpeg's goes in with every form of frames and codec
// private data and every adaptation flag, and comes out of GetMedia to decode to
// the same pictures; the codec private data is ffmpeg's own, or what was given.
func TestVideoRoundTrips(t *testing.T) {
	t.Parallel()
	srv := sluicetest.Start(t)
	const flags = producer.AdaptAnnexBFrames | producer.AdaptAnnexBCPD
	for _, c := range []struct {
		name   string
		kind   codec.Kind
		encode []string
		track  func([]byte) sluice.Track
	}{
		{"h264", codec.H264, []string{"-c:v", "libx264", "-x264-params", "keyint=25:bframes=0"}, producer.H264},
		{"h265", codec.H265, []string{"-c:v", "libx265", "-x265-params", "keyint=25:bframes=0:log-level=error"}, producer.H265},
	} {
		dir := t.TempDir()
		raw, ref := filepath.Join(dir, "a."+c.name), filepath.Join(dir, "a.mkv")
		ffmpeg(t, append(append([]string{"-f", "lavfi", "-i", testVideo}, c.encode...), "-pix_fmt", "yuv420p", raw)...)
		ffmpeg(t, "-framerate", "25", "-i", raw, "-c", "copy", ref)
		wantSums := hashes(t, raw, "v")
		tracks, frames := demux(t, ref)
		record := slices.Clone(tracks[0].CodecPrivate) // ffmpeg's avcC or hvcC
		var annexCPD []byte
		vps, sps, pps := codec.ParameterSets(c.kind, frames[0].Data, codec.FramingLength4)
		for _, nal := range slices.Concat(vps, sps, pps) {
			annexCPD = append(append(annexCPD, 0, 0, 0, 1), nal...)
		}
		annex := make([][]byte, len(frames))
		length := make([][]byte, len(frames))
		for i, f := range frames {
			length[i] = f.Data
			var err error
			if annex[i], err = codec.AppendAnnexB(nil, f.Data, 4); err != nil {
				t.Fatal(err)
			}
		}
		for name, r := range map[string]struct {
			nals   producer.NALAdaptation
			cpd    []byte
			frames [][]byte
			want   []byte // codec private data that comes out
		}{
			"auto-from-stream":    {0, nil, annex, record},
			"auto-annexb":         {0, annexCPD, annex, record},
			"auto-record":         {0, record, length, record},
			"none-record":         {producer.AdaptNone, record, length, record},
			"none-annexb":         {producer.AdaptNone, annexCPD, annex, annexCPD},
			"frames":              {producer.AdaptAnnexBFrames, record, annex, record},
			"frames-from-stream":  {producer.AdaptAnnexBFrames, nil, annex, record},
			"frames-and-cpd":      {flags, annexCPD, annex, record},
			"flags-from-stream":   {flags, nil, annex, record},
			"cpd":                 {producer.AdaptAnnexBCPD, annexCPD, length, record},
			"to-annexb":           {producer.AdaptAVCCFrames, record, length, record},
			"to-annexb-given-cpd": {producer.AdaptAVCCFrames, annexCPD, length, annexCPD},
			"to-annexb-and-cpd":   {producer.AdaptAVCCFrames | producer.AdaptAnnexBCPD, annexCPD, length, record},
		} {
			stream := c.name + "-" + name
			t.Run(stream, func(t *testing.T) {
				s := newStream(t, serverClient(t, srv, srv.Endpoint), producer.StreamInfo{Name: stream, Tracks: []sluice.Track{c.track(r.cpd)}, NALs: r.nals})
				for i, data := range r.frames {
					if err := s.PutFrame(t.Context(), producer.FrameAt(epoch.Add(time.Duration(i)*40*time.Millisecond), frames[i].Key, data)); err != nil {
						t.Fatal(err)
					}
				}
				stop(t, s)
				out := getMedia(t, srv, stream)
				gotTracks, got := demux(t, out)
				if cpd := gotTracks[0].CodecPrivate; !bytes.Equal(cpd, r.want) {
					t.Errorf("codec private data\n%x, want\n%x", cpd, r.want)
				}
				if v := gotTracks[0].Video; v == nil || v.Width != 160 || v.Height != 120 {
					t.Errorf("size of the pictures: %+v", v)
				}
				if r.nals&producer.AdaptAVCCFrames != 0 || name == "none-annexb" {
					// Frames in Annex B are decoded as the elementary stream that they are.
					var b []byte
					for _, f := range got {
						b = append(b, f.Data...)
					}
					out = filepath.Join(t.TempDir(), "out."+c.name)
					if err := os.WriteFile(out, b, 0o600); err != nil {
						t.Fatal(err)
					}
				}
				if sums := hashes(t, out, "v"); !slices.Equal(sums, wantSums) || len(sums) != 100 {
					t.Errorf("%d decoded pictures, want %d, equal %v", len(sums), len(wantSums), slices.Equal(sums, wantSums))
				}
			})
		}
	}
}

// Sound of each codec goes in frame by frame under the codec private data that is
// made for it, and comes out of GetMedia to decode to the same samples.
func TestSoundRoundTrips(t *testing.T) {
	t.Parallel()
	srv := sluicetest.Start(t)
	aac, err := producer.AAC(48000, 2)
	if err != nil {
		t.Fatal(err)
	}
	alaw, err := producer.G711(producer.ALaw, 8000, 1)
	if err != nil {
		t.Fatal(err)
	}
	mulaw, err := producer.G711(producer.MuLaw, 16000, 2)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		encode []string
		track  sluice.Track
	}{
		{"aac", []string{"-c:a", "aac", "-ar", "48000", "-ac", "2"}, aac},
		{"alaw", []string{"-c:a", "pcm_alaw", "-ar", "8000", "-ac", "1"}, alaw},
		{"mulaw", []string{"-c:a", "pcm_mulaw", "-ar", "16000", "-ac", "2"}, mulaw},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			ref := filepath.Join(t.TempDir(), "a.mkv")
			ffmpeg(t, append(append([]string{"-f", "lavfi", "-i", testSound}, c.encode...), ref)...)
			theirs, frames := demux(t, ref)
			s := newStream(t, serverClient(t, srv, srv.Endpoint), producer.StreamInfo{Name: c.name, Tracks: []sluice.Track{c.track}})
			for _, f := range frames {
				if err := s.PutFrame(t.Context(), producer.FrameAt(epoch.Add(f.Timecode), true, f.Data)); err != nil {
					t.Fatal(err)
				}
			}
			stop(t, s)
			out := getMedia(t, srv, c.name)
			tracks, got := demux(t, out)
			if len(got) != len(frames) {
				t.Errorf("%d frames, want %d", len(got), len(frames))
			}
			ours, want := tracks[0].CodecPrivate, theirs[0].CodecPrivate
			switch {
			case c.name == "aac":
				// ffmpeg adds an extension that says that there is no SBR.
				if len(ours) != 2 || !bytes.HasPrefix(want, ours) {
					t.Errorf("codec private data %x, ffmpeg's %x", ours, want)
				}
			case tracks[0].CodecID != "A_MS/ACM" || theirs[0].CodecID == "A_MS/ACM" && !bytes.Equal(ours, want):
				t.Errorf("%s with %x, ffmpeg's %s with %x", tracks[0].CodecID, ours, theirs[0].CodecID, want)
			}
			sums, wantSums := hashes(t, out, "a"), hashes(t, ref, "a")
			if !slices.Equal(sums, wantSums) || len(sums) < 20 {
				t.Errorf("%d decoded pieces, want %d, equal %v", len(sums), len(wantSums), slices.Equal(sums, wantSums))
			}
		})
	}
}
