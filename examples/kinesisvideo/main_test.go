package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/sluicetest"
	"github.com/sluicevideo/sluice/mkv"
	"github.com/sluicevideo/sluice/parser"
)

// film is a file of n fragments of three frames.
func film(n int) []byte {
	b := mkv.AppendSegment(mkv.AppendHeader(nil))
	b = mkv.AppendInfo(b, mkv.Info{MuxingApp: "t", WritingApp: "t"})
	b = mkv.AppendTracks(b, []sluice.Track{{Number: 1, Type: sluice.TrackVideo, CodecID: "V_MPEG4/ISO/AVC", Video: &sluice.Video{Width: 16, Height: 16}}})
	for i := range n {
		b = mkv.AppendCluster(b, uint64(i)*1000)
		for j := range 3 {
			b = mkv.AppendSimpleBlock(b, int16(j*300), &sluice.Frame{Track: 1, Key: j == 0, Data: []byte{byte(i), byte(j)}})
		}
	}
	return b
}

func TestTour(t *testing.T) {
	t.Parallel()
	server := sluicetest.Start(t)
	dir := t.TempDir()
	in, out := filepath.Join(dir, "film.mkv"), filepath.Join(dir, "merged.mkv")
	if err := os.WriteFile(in, film(7), 0o600); err != nil {
		t.Fatal(err)
	}
	for round := range 2 { // the second time the stream is there already
		var log bytes.Buffer
		if err := run(t.Context(), []string{"-stream", "tour", "-out", out, "-frames", in}, server.Getenv, &log); err != nil {
			t.Fatalf("round %d: %v\n%s", round, err, log.String())
		}
		b, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for f, err := range parser.NewReader(bytes.NewReader(b)).Frames(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			if f.Data[0] != byte(n/3) || f.Data[1] != byte(n%3) {
				t.Errorf("round %d: frame %d is %v", round, n, f.Data)
			}
			n++
		}
		if n != 21 || strings.Count(log.String(), "msg=frame ") != 21 || strings.Count(log.String(), "event=PERSISTED") != 7 {
			t.Errorf("round %d: %d frames\n%s", round, n, log.String())
		}
	}
}
