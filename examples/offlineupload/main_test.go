package main

import (
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/sluicevideo/sluice/internal/sluicetest"
)

func Test(t *testing.T) {
	if _, err := exec.LookPath("ffmpeg"); err != nil {
		t.Skip("needs ffmpeg")
	}
	srv := sluicetest.Start(t)
	srv.Setenv(t)
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	path := filepath.Join(t.TempDir(), "film.mp4")
	out, err := exec.Command("ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc=size=64x48:rate=25:duration=4", "-c:v", "libx264", "-g", "25", path).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	start := time.Now().Add(-24 * time.Hour).Truncate(time.Second)
	if err := run(t.Context(), path, "cam", start); err != nil {
		t.Fatal(err)
	}
	for i, f := range srv.Stored("cam") {
		if !f.Producer.Equal(start.Add(time.Duration(i) * time.Second)) {
			t.Errorf("fragment %d: producer time %v", i, f.Producer)
		}
	}
}
