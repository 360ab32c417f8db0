package main

import (
	"fmt"
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
	path := filepath.Join(t.TempDir(), "film.mp4")
	out, err := exec.Command("ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc=size=64x48:rate=25:duration=2", "-c:v", "libx264", "-g", "25", path).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := run(t.Context(), path, 8); err != nil {
		t.Fatal(err)
	}
	for i := range 8 {
		if n := len(srv.Stored(fmt.Sprintf("camera-%d", i+1))); n != 2 {
			t.Errorf("camera %d: %d fragments", i+1, n)
		}
	}
}
