package main

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/sluicetest"
	"github.com/sluicevideo/sluice/kvsapi"
	"github.com/sluicevideo/sluice/parser"
)

// environ points the example at a server of its own.
func environ(t *testing.T) *sluicetest.Server {
	srv := sluicetest.Start(t)
	for _, e := range srv.Environ() {
		k, v, _ := strings.Cut(e, "=")
		t.Setenv(k, v)
	}
	return srv
}

// stored are the fragments of a stream, in the order of their numbers.
func stored(t *testing.T, srv *sluicetest.Server, stream string) (all []*parser.Fragment) {
	client, ref := srv.Client(), sluice.StreamRef{Name: stream}
	in := kvsapi.ListFragmentsInput{Stream: ref, From: time.Unix(0, 0), To: time.Now().Add(time.Hour)}
	var numbers []sluice.FragmentNumber
	for f, err := range parser.List(t.Context(), client, in) {
		if err != nil {
			t.Fatal(err)
		}
		numbers = append(numbers, f.Number)
	}
	for f, err := range parser.FetchList(t.Context(), client, ref, numbers, parser.FetchOptions{}) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, f)
	}
	return all
}

func Test(t *testing.T) {
	if _, err := exec.LookPath("ffmpeg"); err != nil {
		t.Skip("needs ffmpeg")
	}
	srv := environ(t)
	path := filepath.Join(t.TempDir(), "film.h264")
	out, err := exec.Command("ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc=size=64x48:rate=25:duration=3", "-c:v", "libx264", "-g", "25", "-bf", "0", "-bsf:v", "h264_metadata=aud=insert", path).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := run(t.Context(), path, "cam"); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, f := range stored(t, srv, "cam") {
		n += len(f.Frames)
	}
	if n != 75 {
		t.Errorf("%d frames stored of 75", n)
	}
}
