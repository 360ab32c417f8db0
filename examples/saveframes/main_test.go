package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/sluicetest"
	"github.com/sluicevideo/sluice/kvsapi"
	"github.com/sluicevideo/sluice/mkv"
)

func film() []byte {
	b := mkv.AppendSegment(mkv.AppendHeader(nil))
	b = mkv.AppendTracks(b, []sluice.Track{{Number: 1, Type: sluice.TrackVideo, CodecID: "V_MPEG4/ISO/AVC", Video: &sluice.Video{Width: 16, Height: 16}}})
	for i := range 3 {
		b = mkv.AppendCluster(b, uint64(i)*1000)
		b = mkv.AppendSimpleBlock(b, 0, &sluice.Frame{Track: 1, Key: true, Data: []byte{1, byte(i)}})
		b = mkv.AppendSimpleBlock(b, 500, &sluice.Frame{Track: 1, Data: []byte{2, byte(i)}})
	}
	return b
}

// check looks at frame 3 of the film: the second of the second fragment.
func check(t *testing.T, dir string, tagged bool) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "00000003-track1.bin"))
	if err != nil || !bytes.Equal(data, []byte{2, 1}) {
		t.Errorf("%v, %v", data, err)
	}
	raw, err := os.ReadFile(filepath.Join(dir, "00000003-track1.json"))
	if err != nil {
		t.Fatal(err)
	}
	var m struct {
		Track      uint64
		Codec      string
		TimecodeNs int64     `json:"timecode_ns"`
		Fragment   string    `json:"fragment_number"`
		Server     time.Time `json:"server_timestamp"`
	}
	if err := json.Unmarshal(raw, &m); err != nil || m.Track != 1 || m.Codec != "V_MPEG4/ISO/AVC" || m.TimecodeNs != 1_500_000_000 || (len(m.Fragment) == 47) != tagged || m.Server.IsZero() == tagged {
		t.Errorf("%s: %v", raw, err)
	}
	files, _ := filepath.Glob(filepath.Join(dir, "*"))
	if len(files) != 12 {
		t.Errorf("%d files", len(files))
	}
}

func TestFromInput(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var log bytes.Buffer
	if err := run(t.Context(), []string{"-dir", dir, "-"}, nil, bytes.NewReader(film()), &log); err != nil || !strings.HasPrefix(log.String(), "6 frames") {
		t.Fatal(err, log.String())
	}
	check(t, dir, false)
	file := filepath.Join(t.TempDir(), "film.mkv")
	if err := os.WriteFile(file, film(), 0o600); err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	if err := run(t.Context(), []string{"-dir", dir, file}, nil, nil, io.Discard); err != nil {
		t.Fatal(err)
	}
	check(t, dir, false)
	for _, args := range [][]string{{}, {"-stream", "s", file}, {file, file}, {filepath.Join(dir, "none.mkv")}} {
		if err := run(t.Context(), append([]string{"-dir", dir}, args...), nil, nil, io.Discard); err == nil {
			t.Errorf("%q: no error", args)
		}
	}
}

func TestFromStream(t *testing.T) {
	t.Parallel()
	server := sluicetest.Start(t)
	stream := server.CreateStream("cam", 24*time.Hour)
	session, err := server.Client().PutMedia(t.Context(), &kvsapi.PutMediaInput{
		Stream: stream, TimecodeType: sluice.TimecodeRelative, ProducerStart: time.Now(), Body: bytes.NewReader(film()),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	for {
		ack, err := session.Next()
		if err == io.EOF {
			break
		}
		if err != nil || ack.Event == sluice.AckError {
			t.Fatal(ack, err)
		}
	}
	dir := t.TempDir()
	if err := run(t.Context(), []string{"-stream", "cam", "-dir", dir, "-n", "6"}, server.Getenv, nil, io.Discard); err != nil {
		t.Fatal(err)
	}
	check(t, dir, true)
}
