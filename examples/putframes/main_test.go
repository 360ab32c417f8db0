package main

import (
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/sluicevideo/sluice/internal/sluicetest"
)

func Test(t *testing.T) {
	if _, err := exec.LookPath("ffmpeg"); err != nil {
		t.Skip("needs ffmpeg")
	}
	srv := sluicetest.Start(t)
	srv.Setenv(t)
	path := filepath.Join(t.TempDir(), "film.h264")
	out, err := exec.Command("ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc=size=64x48:rate=25:duration=3", "-c:v", "libx264", "-g", "25", "-bf", "0", "-bsf:v", "h264_metadata=aud=insert", path).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := run(t.Context(), path, "cam"); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, f := range srv.Stored("cam") {
		n += len(f.Frames)
	}
	if n != 75 {
		t.Errorf("%d frames stored of 75", n)
	}
}
