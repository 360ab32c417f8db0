package mp4_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/sluicevideo/sluice/internal/mp4"
)

func ffmpeg(t *testing.T, args ...string) {
	t.Helper()
	if _, err := exec.LookPath("ffmpeg"); err != nil {
		t.Skip("needs ffmpeg")
	}
	out, err := exec.Command("ffmpeg", append([]string{"-v", "error", "-nostdin", "-y"}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("ffmpeg: %v\n%s", err, out)
	}
}

// Samples, times and key flags are those that ffprobe sees.
func TestAgainstFFprobe(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{
		"b-frames":   {"-c:v", "libx264", "-bf", "2", "-g", "25", "-c:a", "aac"},
		"fragmented": {"-c:v", "libx264", "-bf", "2", "-g", "25", "-c:a", "aac", "-movflags", "frag_keyframe+empty_moov+default_base_moof"},
		"faststart":  {"-c:v", "libx264", "-bf", "0", "-g", "10", "-c:a", "aac", "-movflags", "+faststart"},
		"hevc":       {"-c:v", "libx265", "-x265-params", "log-level=error", "-g", "25", "-tag:v", "hvc1", "-an"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "a.mp4")
			ffmpeg(t, append(append([]string{"-f", "lavfi", "-i", "testsrc=size=160x120:rate=25:duration=3", "-f", "lavfi", "-i", "sine=duration=3"}, args...), path)...)
			file, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			info, _ := file.Stat()
			f, err := mp4.Open(file, info.Size())
			if err != nil {
				t.Fatal(err)
			}
			out, err := exec.Command("ffprobe", "-v", "error", "-show_packets", "-show_entries", "packet=stream_index,pts_time,dts_time,size,pos,flags", "-of", "csv=p=0", path).Output()
			if err != nil {
				t.Fatal(err)
			}
			type packet struct {
				pts, dts float64
				size     int
				key      bool
			}
			probed := map[string]packet{}
			for line := range strings.Lines(string(out)) {
				p := strings.Split(strings.TrimSpace(line), ",")
				if len(p) < 6 {
					continue // side data
				}
				pts, _ := strconv.ParseFloat(p[1], 64)
				dts, _ := strconv.ParseFloat(p[2], 64)
				size, _ := strconv.Atoi(p[3])
				probed[p[0]+"@"+p[4]] = packet{pts, dts, size, strings.HasPrefix(p[5], "K")}
			}
			if len(f.Samples) != len(probed) {
				t.Errorf("%d samples, ffprobe sees %d", len(f.Samples), len(probed))
			}
			for _, s := range f.Samples {
				p, ok := probed[strconv.Itoa(s.Track)+"@"+strconv.FormatInt(s.Offset, 10)]
				if !ok {
					t.Fatalf("no packet of track %d at %d", s.Track, s.Offset)
				}
				if d := s.PTS.Seconds() - p.pts; d > 0.001 || d < -0.001 {
					t.Errorf("track %d at %d: PTS %v, want %v", s.Track, s.Offset, s.PTS, p.pts)
				}
				if d := s.DTS.Seconds() - p.dts; d > 0.001 || d < -0.001 {
					t.Errorf("track %d at %d: DTS %v, want %v", s.Track, s.Offset, s.DTS, p.dts)
				}
				if s.Size != p.size || s.Key != p.key {
					t.Errorf("track %d at %d: %d bytes, key %v; want %+v", s.Track, s.Offset, s.Size, s.Key, p)
				}
				b, err := f.Read(nil, s)
				if err != nil || len(b) != s.Size {
					t.Fatal(err)
				}
			}
			if len(f.Tracks[0].CodecPrivate) == 0 {
				t.Error("no codec private data")
			}
		})
	}
}

func FuzzOpen(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x08ftyp\x00\x00\x00\x10moov\x00\x00\x00\x08trak"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := mp4.Open(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		for _, s := range m.Samples[:min(len(m.Samples), 100)] {
			if s.Size < 1<<20 {
				_, _ = m.Read(nil, s)
			}
		}
	})
}
