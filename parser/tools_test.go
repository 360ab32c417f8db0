package parser_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluicevideo/sluice/internal/mediatest"
	"github.com/sluicevideo/sluice/parser"
)

// What the merger writes is a file that other programs take, and its pictures
// are those of the fragments before.
func TestMergedFileIsClean(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"ffmpeg", "ffprobe"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("%s is not installed", name)
		}
	}
	const name = "output_get_media.mkv"
	in := mediatest.File(t, captures+name)
	for mode, o := range map[string]parser.MergeOptions{"official": {}, "clusters": {ClustersOnly: true}} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			if err := parser.NewReader(bytes.NewReader(in)).Visit(t.Context(), parser.NewMerger(&out, o)); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(t.TempDir(), "merged.mkv")
			if err := os.WriteFile(path, out.Bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
			probe, err := exec.Command("ffprobe", "-v", "warning", "-count_packets", "-show_entries", "stream=nb_read_packets", "-of", "csv=p=0", path).CombinedOutput()
			if err != nil || strings.TrimSpace(string(probe)) != "300" {
				t.Errorf("ffprobe: %v\n%s", err, probe)
			}
			if _, err := exec.LookPath("mkvinfo"); err == nil {
				if info, err := exec.Command("mkvinfo", path).CombinedOutput(); err != nil || bytes.Contains(info, []byte("(MKVInfo)")) {
					t.Errorf("mkvinfo: %v\n%s", err, info)
				}
			}
			// ffmpeg reads a concatenation of chunks chunk by chunk only when each
			// is given alone: the fragments' pictures, one after the other.
			var want strings.Builder
			for f, err := range parser.NewReader(bytes.NewReader(in)).Fragments(t.Context()) {
				if err != nil {
					t.Fatal(err)
				}
				want.WriteString(pictures(t, f.Bytes))
			}
			if got := pictures(t, out.Bytes()); got != want.String() || strings.Count(got, "\n") != 300 {
				t.Errorf("%d pictures of the merged file are not the %d of the fragments", strings.Count(got, "\n"), strings.Count(want.String(), "\n"))
			}
		})
	}
}

// pictures is a hash for each decoded picture of a Matroska file.
func pictures(t *testing.T, in []byte) string {
	t.Helper()
	cmd := exec.Command("ffmpeg", "-v", "error", "-i", "pipe:0", "-map", "0:v", "-fps_mode", "passthrough", "-f", "framehash", "-")
	cmd.Stdin = bytes.NewReader(in)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("ffmpeg: %v", err)
	}
	var b strings.Builder
	for line := range strings.Lines(string(out)) {
		if !strings.HasPrefix(line, "#") {
			b.WriteString(line[strings.LastIndex(line, ",")+1:])
		}
	}
	return b.String()
}
