package gst_test

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluicevideo/sluice/internal/sluicetest"
)

// The entry script of the image, as the guide's docker run calls it, with a camera
// in front of it.
func TestImageEntry(t *testing.T) {
	t.Parallel()
	need(t, "ffmpeg")
	srv := sluicetest.Start(t)
	cam := newRTSPCamera(t)
	path, err := filepath.Abs("../deploy/gstreamer-entry.sh")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, source string }{{"entryrtsp", cam.url}, {"entrytest", "test"}} {
		cmd := program(t, srv, path, srv.Credentials.AccessKeyID, srv.Credentials.SecretAccessKey, c.source, c.name)
		cmd.Stdout, cmd.Stderr = io.Discard, io.Discard
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		arrived(t, srv, c.name, 1)
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s: after Ctrl-C: %v", c.name, err)
		}
		if n := len(stored(t, srv, c.name).frames); n < 10 {
			t.Errorf("%s: %d frames", c.name, n)
		}
	}
	for source, want := range map[string]string{"/dev/video0": "v4l2src do-timestamp=TRUE device=/dev/video0 ! videoconvert", "h264:/dev/video1": "device=/dev/video1 ! h264parse"} {
		cmd := program(t, srv, path, source, "cam")
		cmd.Env = append(cmd.Env, "DRY_RUN=1")
		if out := run(t, cmd); !strings.Contains(out, want) {
			t.Errorf("%s: %s", source, out)
		}
	}
	if out, err := program(t, srv, path, "nonsense", "cam").CombinedOutput(); err == nil || !strings.Contains(string(out), "is no source") {
		t.Errorf("%v: %s", err, out)
	}
}
