package mkv_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/mkv"
	"github.com/sluicevideo/sluice/mkv/ebml"
)

// sources are short streams that the files below are made of, each encoded when
// the first test needs it.
var sources = map[string]string{
	"h264b.mkv":  "-f lavfi -i testsrc2=s=128x96:r=25:d=2 -c:v libx264 -preset ultrafast -x264-params keyint=25:bframes=3:b-adapt=0",
	"h264.mkv":   "-f lavfi -i testsrc2=s=128x96:r=30:d=2 -c:v libx264 -preset ultrafast -tune zerolatency -g 15",
	"hevc.mkv":   "-f lavfi -i testsrc2=s=128x96:r=25:d=1 -c:v libx265 -preset ultrafast -x265-params log-level=none:keyint=10:bframes=2",
	"vp9.mkv":    "-f lavfi -i testsrc2=s=128x96:r=25:d=1 -c:v libvpx-vp9 -deadline realtime -cpu-used 8 -g 10",
	"vp8.mkv":    "-f lavfi -i testsrc2=s=128x96:r=25:d=1 -c:v libvpx -deadline realtime -cpu-used 8 -g 10",
	"av1.mkv":    "-f lavfi -i testsrc2=s=128x96:r=25:d=1 -c:v libsvtav1 -preset 12 -g 10",
	"mjpeg.mkv":  "-f lavfi -i testsrc2=s=128x96:r=10:d=1 -c:v mjpeg -pix_fmt yuvj420p",
	"mpeg4.mkv":  "-f lavfi -i testsrc2=s=128x96:r=25:d=1 -c:v mpeg4 -bf 2 -g 12",
	"aac.mkv":    "-f lavfi -i sine=r=48000:d=2 -c:a aac",
	"opus.mkv":   "-f lavfi -i sine=r=48000:d=2 -c:a libopus",
	"pcm.mkv":    "-f lavfi -i sine=r=8000:d=2 -c:a pcm_s16le",
	"alaw.mkv":   "-f lavfi -i sine=r=8000:d=2 -c:a pcm_alaw",
	"mulaw.mkv":  "-f lavfi -i sine=r=8000:d=2 -c:a pcm_mulaw",
	"flac.mkv":   "-f lavfi -i sine=r=44100:d=2 -c:a flac",
	"mp3.mkv":    "-f lavfi -i sine=r=44100:d=2 -c:a libmp3lame",
	"vorbis.mkv": "-f lavfi -i sine=r=44100:d=2 -c:a libvorbis",
}

const subtitles = "1\n00:00:00,100 --> 00:00:00,900\nfirst\n\n2\n00:00:01,000 --> 00:00:01,500\nsecond, longer\n\n"

// files says how to make each file: a command in which IN(name) is a source and
// OUT the file.
var files = map[string]string{
	// As ffmpeg writes them, seekable.
	"ffmpeg-h264b": "ffmpeg -i IN(h264b) -c copy OUT", "ffmpeg-h264": "ffmpeg -i IN(h264) -c copy OUT", "ffmpeg-hevc": "ffmpeg -i IN(hevc) -c copy OUT",
	"ffmpeg-vp9": "ffmpeg -i IN(vp9) -c copy OUT", "ffmpeg-vp8": "ffmpeg -i IN(vp8) -c copy OUT", "ffmpeg-av1": "ffmpeg -i IN(av1) -c copy OUT",
	"ffmpeg-mjpeg": "ffmpeg -i IN(mjpeg) -c copy OUT", "ffmpeg-mpeg4": "ffmpeg -i IN(mpeg4) -c copy OUT", "ffmpeg-aac": "ffmpeg -i IN(aac) -c copy OUT",
	"ffmpeg-opus": "ffmpeg -i IN(opus) -c copy OUT", "ffmpeg-pcm": "ffmpeg -i IN(pcm) -c copy OUT", "ffmpeg-alaw": "ffmpeg -i IN(alaw) -c copy OUT",
	"ffmpeg-mulaw": "ffmpeg -i IN(mulaw) -c copy OUT", "ffmpeg-flac": "ffmpeg -i IN(flac) -c copy OUT", "ffmpeg-mp3": "ffmpeg -i IN(mp3) -c copy OUT",
	"ffmpeg-vorbis": "ffmpeg -i IN(vorbis) -c copy OUT", "ffmpeg-srt": "ffmpeg -i SRT -c:s srt OUT", "ffmpeg-ass": "ffmpeg -i SRT -c:s ass OUT",
	// Its other shapes.
	"ffmpeg-av":            "ffmpeg -i IN(h264b) -i IN(aac) -c copy OUT",
	"ffmpeg-four-tracks":   "ffmpeg -i IN(h264b) -i IN(aac) -i IN(opus) -i SRT -map 0 -map 1 -map 2 -map 3 -c copy -c:s srt OUT",
	"ffmpeg-live":          "ffmpeg -i IN(h264b) -i IN(aac) -c copy -live 1 OUT",
	"ffmpeg-pipe":          "ffmpeg -i IN(h264) -i IN(aac) -c copy -f matroska pipe:1",
	"ffmpeg-live-pipe":     "ffmpeg -i IN(hevc) -i IN(opus) -c copy -live 1 -f matroska pipe:1",
	"ffmpeg-tiny-clusters": "ffmpeg -i IN(h264b) -i IN(aac) -c copy -cluster_time_limit 1 OUT",
	"ffmpeg-small-bytes":   "ffmpeg -i IN(h264b) -i IN(pcm) -c copy -cluster_size_limit 500 OUT",
	"ffmpeg-large":         "ffmpeg -i IN(h264b) -i IN(aac) -c copy -cluster_time_limit 30000 -cluster_size_limit 100000000 OUT",
	"ffmpeg-no-crc":        "ffmpeg -i IN(vp9) -i IN(opus) -c copy -write_crc32 0 OUT",
	"ffmpeg-cues-front":    "ffmpeg -i IN(h264) -i IN(mp3) -c copy -cues_to_front 1 OUT",
	"ffmpeg-reserved":      "ffmpeg -i IN(h264) -i IN(flac) -c copy -reserve_index_space 5000 OUT",
	"ffmpeg-webm":          "ffmpeg -i IN(vp9) -i IN(vorbis) -c copy -f webm OUT",
	"ffmpeg-webm-dash":     "ffmpeg -i IN(vp8) -c copy -f webm -dash 1 OUT",
	"ffmpeg-late":          "ffmpeg -i IN(h264b) -i IN(aac) -c copy -output_ts_offset 100000 OUT",
	"ffmpeg-attachment":    "ffmpeg -i IN(h264) -attach SRT -metadata:s:t mimetype=text/plain -metadata title=name -c copy OUT",
	// mkvmerge: lacing, BlockGroups, other time scales.
	"mkvmerge-av":          "mkvmerge -o OUT --compression -1:none IN(h264b) IN(aac)",
	"mkvmerge-mp3-laced":   "mkvmerge -o OUT --compression -1:none IN(mp3)",
	"mkvmerge-xiph":        "mkvmerge -o OUT --engage lacing_xiph --compression -1:none IN(mp3) IN(vorbis)",
	"mkvmerge-ebml":        "mkvmerge -o OUT --engage lacing_ebml --compression -1:none IN(aac) IN(opus)",
	"mkvmerge-ebml-groups": "mkvmerge -o OUT --engage lacing_ebml --engage no_simpleblocks --compression -1:none IN(h264b) IN(vorbis)",
	"mkvmerge-fixed":       "mkvmerge -o OUT --compression -1:none IN(pcm) IN(alaw)",
	"mkvmerge-no-lacing":   "mkvmerge -o OUT --disable-lacing --compression -1:none IN(mp3)",
	"mkvmerge-groups":      "mkvmerge -o OUT --engage no_simpleblocks --compression -1:none IN(h264b) IN(aac) SRT",
	"mkvmerge-100ns":       "mkvmerge -o OUT --timestamp-scale 100 --compression -1:none IN(h264b)",
	"mkvmerge-10us":        "mkvmerge -o OUT --timestamp-scale 10000 --compression -1:none IN(hevc) IN(opus)",
	"mkvmerge-10ms":        "mkvmerge -o OUT --timestamp-scale 10000000 --compression -1:none IN(vp9)",
	"mkvmerge-tiny":        "mkvmerge -o OUT --cluster-length 1 --compression -1:none IN(h264b) IN(aac)",
	"mkvmerge-no-cues":     "mkvmerge -o OUT --no-cues --clusters-in-meta-seek --compression -1:none IN(av1)",
	"mkvmerge-twice":       "mkvmerge -o OUT --engage write_headers_twice --compression -1:none IN(h264)",
	"mkvmerge-attachment":  "mkvmerge -o OUT --attachment-mime-type text/plain --attach-file SRT --generate-chapters interval:500ms --compression -1:none IN(h264)",
	"mkvmerge-webm":        "mkvmerge -o OUT --webm IN(vp9) IN(opus)",
	// GStreamer.
	"gst-h264":      "gst-launch-1.0 -q videotestsrc num-buffers=50 ! video/x-raw,width=128,height=96,framerate=25/1 ! x264enc tune=zerolatency key-int-max=10 ! matroskamux ! filesink location=OUT",
	"gst-live":      "gst-launch-1.0 -q videotestsrc num-buffers=50 ! video/x-raw,width=128,height=96,framerate=25/1 ! x264enc bframes=2 key-int-max=10 ! matroskamux streamable=true ! filesink location=OUT",
	"gst-100ns":     "gst-launch-1.0 -q videotestsrc num-buffers=50 ! video/x-raw,width=128,height=96,framerate=25/1 ! x264enc key-int-max=10 ! matroskamux timecodescale=100 ! filesink location=OUT",
	"gst-1s":        "gst-launch-1.0 -q videotestsrc num-buffers=50 ! video/x-raw,width=128,height=96,framerate=5/1 ! x264enc tune=zerolatency ! matroskamux timecodescale=1000000000 ! filesink location=OUT",
	"gst-1s-jpeg":   "gst-launch-1.0 -q videotestsrc num-buffers=20 ! video/x-raw,width=128,height=96,framerate=5/1 ! jpegenc ! matroskamux timecodescale=1000000000 ! filesink location=OUT",
	"gst-tiny":      "gst-launch-1.0 -q audiotestsrc num-buffers=50 ! opusenc ! matroskamux min-cluster-duration=0 streamable=true ! filesink location=OUT",
	"gst-alaw":      "gst-launch-1.0 -q audiotestsrc num-buffers=50 ! audio/x-raw,rate=8000,channels=1 ! alawenc ! matroskamux ! filesink location=OUT",
	"gst-vp8-webm":  "gst-launch-1.0 -q videotestsrc num-buffers=30 ! video/x-raw,width=128,height=96,framerate=25/1 ! vp8enc deadline=1 ! webmmux ! filesink location=OUT",
	"gst-jpeg":      "gst-launch-1.0 -q videotestsrc num-buffers=20 ! video/x-raw,width=128,height=96,framerate=10/1 ! jpegenc ! matroskamux ! filesink location=OUT",
	"gst-two-audio": "gst-launch-1.0 -q matroskamux name=m ! filesink location=OUT audiotestsrc num-buffers=40 ! avenc_aac ! m. audiotestsrc num-buffers=40 ! opusenc ! m.",
}

// workshop makes sources and files in a folder of its own.
type workshop struct {
	dir string
	mu  sync.Mutex
}

// source is the path of a source, encoded if it has not been.
func (w *workshop) source(t *testing.T, name string) string {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	path := filepath.Join(w.dir, name)
	if _, err := os.Stat(path); err == nil {
		return path
	}
	args := append(strings.Fields("-v error -nostdin -y"), strings.Fields(sources[name])...)
	if out, err := exec.Command("ffmpeg", append(args, path)...).CombinedOutput(); err != nil {
		os.Remove(path)
		t.Skipf("this ffmpeg cannot make %s: %v\n%.300s", name, err, out)
	}
	return path
}

// file is the bytes of a file, and its path.
func (w *workshop) file(t *testing.T, name, recipe string) ([]byte, string) {
	t.Helper()
	words := strings.Fields(recipe)
	program := tool(t, words[0])
	path := filepath.Join(w.dir, name+".out.mkv")
	args := words[1:]
	if words[0] == "ffmpeg" {
		args = append(strings.Fields("-v error -nostdin -y"), args...)
	}
	for i, a := range args {
		if s, ok := strings.CutPrefix(a, "IN("); ok {
			a = w.source(t, strings.TrimSuffix(s, ")")+".mkv")
		}
		args[i] = strings.ReplaceAll(strings.ReplaceAll(a, "OUT", path), "SRT", filepath.Join(w.dir, "words.srt"))
	}
	cmd := exec.CommandContext(t.Context(), program, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %s: %v\n%.1000s%.1000s", program, strings.Join(args, " "), err, errs.Bytes(), out.Bytes())
	}
	if strings.Contains(recipe, "pipe:1") {
		if err := os.WriteFile(path, out.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b, path
}

// packet is a frame as both sides tell it.
type packet struct {
	size int
	tick int64
	key  bool
	at   clock
}

// clock says where a packet's time comes from.
type clock string

const (
	ofBlock clock = "block" // the block's own: exact
	// ofLace is the block's and so many times the duration of a frame, which is
	// in ns: ffprobe rounds it to ticks.
	ofLace clock = "lace"
	// unsaid is a later frame of a lace whose file says no duration: we report the
	// block's time, ffprobe asks the codec.
	unsaid clock = "unsaid"
)

// fits reports whether tick, of ffprobe, is p's time as exactly as the file has it.
func (p packet) fits(tick int64) bool {
	switch p.at {
	case ofLace:
		return tick-p.tick >= -1 && tick-p.tick <= 1
	case unsaid:
		return tick >= p.tick
	}
	return tick == p.tick
}

// TestDifferential holds our frames against those ffprobe finds.
func TestDifferential(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("go test -short")
	}
	tool(t, "ffmpeg")
	probe := tool(t, "ffprobe")
	w := &workshop{dir: t.TempDir()}
	if err := os.WriteFile(filepath.Join(w.dir, "words.srt"), []byte(subtitles), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Run("files", func(t *testing.T) {
		for name, recipe := range files {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				in, path := w.file(t, name, recipe)
				ours, tracks := ourPackets(t, in, keysInCodec[name])
				theirs := theirPackets(t, probe, path, tracks)
				if len(ours) == 0 {
					t.Fatal("no frames")
				}
				counted := map[clock]int{}
				defer func() { t.Logf("frames equal to ffprobe's, by what their time comes from: %v", counted) }()
				for n, want := range theirs {
					got := ours[n]
					if len(got) != len(want) {
						t.Errorf("track %d: %d frames, ffprobe %d", n, len(got), len(want))
						continue
					}
					for i := range want {
						if got[i].size != want[i].size || got[i].key != want[i].key || !got[i].fits(want[i].tick) {
							t.Fatalf("track %d frame %d: %+v, ffprobe %+v", n, i, got[i], want[i])
						}
						counted[got[i].at]++
					}
				}
				if len(ours) != len(theirs) {
					t.Errorf("%d tracks with frames, ffprobe %d", len(ours), len(theirs))
				}
			})
		}
	})
}

// keysInCodec are files of H.264 whose muxer writes BlockGroups without a
// ReferenceBlock, so by the container every frame is a key frame. ffprobe asks
// the codec, and so do we here: a key frame has an IDR slice.
var keysInCodec = map[string]bool{"gst-1s": true}

// hasIDR reports whether a frame of NAL units with lengths of 4 bytes has an IDR
// slice.
func hasIDR(b []byte) bool {
	for len(b) > 4 {
		n := int(binary.BigEndian.Uint32(b))
		if b[4]&0x1F == 5 {
			return true
		}
		b = b[min(4+n, len(b)):]
	}
	return false
}

// intraOnly says that a codec has key frames only, which ffprobe knows without
// the file's flags; not every muxer sets them.
func intraOnly(t sluice.Track) bool {
	return t.Type == sluice.TrackAudio || t.CodecID == "V_MJPEG"
}

// ourPackets demuxes in: all at once and byte by byte, which must report the same
// events, and of these it makes the file again.
func ourPackets(t *testing.T, in []byte, askCodec bool) (map[uint64][]packet, []sluice.Track) {
	t.Helper()
	for _, o := range modes {
		events, err := collect(in, len(in), true, o)
		if !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		slowly, err := collect(in, 1, true, o)
		if !errors.Is(err, io.EOF) || !reflect.DeepEqual(slowly, events) {
			t.Errorf("byte by byte: other events, %v", err)
		}
		if !bytes.Equal(emit(events), in) {
			t.Error("the events are not the file")
		}
	}
	d := mkv.NewDemuxer(mkv.Options{})
	d.Feed(in)
	d.Close()
	out := map[uint64][]packet{}
	intra := map[uint64]bool{}
	delay := map[uint64]time.Duration{} // CodecDelay, which ffprobe takes off
	var entry uint64
	var entryDelay time.Duration
	for {
		ev, err := d.Next()
		if errors.Is(err, io.EOF) {
			return out, d.Tracks()
		}
		if err != nil {
			t.Fatal(err)
		}
		switch ev.ID {
		case mkv.IDTrackEntry:
			if ev.Kind == mkv.End {
				delay[entry] = entryDelay
			}
			entryDelay = 0
		case mkv.IDTrackNumber:
			entry, _ = ebml.Uint(ev.Payload())
		case mkv.IDCodecDelay:
			ns, _ := ebml.Uint(ev.Payload())
			entryDelay = time.Duration(ns)
		}
		if ev.ID == mkv.IDTracks && ev.Kind == mkv.End {
			for _, x := range d.Tracks() {
				intra[x.Number] = intraOnly(x)
			}
		}
		for i, f := range ev.Frames {
			p := packet{
				size: f.Size, key: f.Key || intra[f.Track], at: ofBlock,
				tick: int64(f.Timecode/d.Scale()) - int64((delay[f.Track]+d.Scale()/2)/d.Scale()),
			}
			if askCodec {
				if !f.Key {
					t.Fatal("the file has a ReferenceBlock: compare its flags")
				}
				p.key = hasIDR(f.Data)
			}
			if i > 0 {
				p.at = ofLace
				if f.Timecode == ev.Frames[0].Timecode {
					p.at = unsaid
				}
			}
			out[f.Track] = append(out[f.Track], p)
		}
	}
}

func theirPackets(t *testing.T, probe, path string, tracks []sluice.Track) map[uint64][]packet {
	t.Helper()
	raw, err := exec.Command(probe, "-v", "error", "-of", "json", "-show_entries", "packet=stream_index,pts,size,flags:stream=index,codec_type", path).Output()
	if err != nil {
		t.Fatal(err)
	}
	var p struct {
		Packets []struct {
			Stream int `json:"stream_index"`
			PTS    *int64
			Size   string
			Flags  string
		}
	}
	if err := json.Unmarshal(raw, &p); err != nil {
		t.Fatal(err)
	}
	out := map[uint64][]packet{}
	for _, x := range p.Packets {
		if x.Stream >= len(tracks) {
			continue // an attachment, which ffprobe calls a stream
		}
		tr := tracks[x.Stream]
		size, _ := strconv.Atoi(x.Size)
		if x.PTS == nil {
			t.Fatalf("track %d: ffprobe has no time of a frame", tr.Number)
		}
		k := packet{size: size, key: strings.Contains(x.Flags, "K"), tick: *x.PTS}
		if intraOnly(tr) && !k.key {
			t.Errorf("track %d: ffprobe finds a frame that is no key frame", tr.Number)
		}
		out[tr.Number] = append(out[tr.Number], k)
	}
	return out
}
