package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesisvideo"

	"github.com/sluicevideo/sluice/internal/cli"
	"github.com/sluicevideo/sluice/internal/sluicetest"
)

// film makes a recording of 5 seconds with a fragment a second.
func film(t *testing.T, name string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath("ffmpeg"); err != nil {
		t.Skip("needs ffmpeg")
	}
	path := filepath.Join(t.TempDir(), name)
	all := append([]string{"-v", "error", "-f", "lavfi", "-i", "testsrc=size=64x48:rate=25:duration=5"}, args...)
	if out, err := exec.Command("ffmpeg", append(all, path)...).CombinedOutput(); err != nil {
		t.Fatalf("ffmpeg: %v\n%s", err, out)
	}
	return path
}

func runWith(t *testing.T, environ []string, stdin io.Reader, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = cli.Run(t.Context(), args, &cli.Env{Stdin: stdin, Stdout: &out, Stderr: &errs, Environ: environ, Now: time.Now})
	return code, out.String(), errs.String()
}

func TestPut(t *testing.T) {
	t.Parallel()
	srv := sluicetest.Start(t)
	x264 := []string{"-c:v", "libx264", "-g", "25", "-pix_fmt", "yuv420p"}
	mkv, mp4, h264 := film(t, "a.mkv", x264...), film(t, "a.mp4", x264...), film(t, "a.h264", x264...)
	images := filepath.Dir(film(t, "%03d.jpg", "-q:v", "5"))
	live, err := os.ReadFile(mkv)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		args  []string
		stdin []byte
	}{
		"mkv":    {args: []string{mkv}},
		"mp4":    {args: []string{mp4, "--start", "2026-01-02T03:04:05Z"}},
		"annexb": {args: []string{h264, "--timecode", "absolute"}},
		"stdin":  {args: []string{"-"}, stdin: live},
		"images": {args: []string{"--from-images", images, "--fps", "25"}},
		"slow":   {args: []string{mkv, "--max-kbps", "400"}},
	} {
		code, out, errs := runWith(t, srv.Environ(), bytes.NewReader(c.stdin), append([]string{"put", name, "--create", "--json"}, c.args...)...)
		var sum struct {
			Frames, Persisted, Undelivered, Dropped int
		}
		if err := json.Unmarshal([]byte(out), &sum); err != nil || code != 0 {
			t.Errorf("%s: exit code %d, %v\n%s%s", name, code, err, out, errs)
			continue
		}
		fragments := 5
		if name == "images" { // every picture is a key frame: cut by duration
			fragments = 3
		}
		if sum.Frames != 125 || sum.Persisted != fragments || sum.Undelivered != 0 || sum.Dropped != 0 {
			t.Errorf("%s: %+v", name, sum)
		}
	}
	// A stream that is made keeps a day, and says what is in it.
	about, err := srv.Client().Control().DescribeStream(t.Context(), &kinesisvideo.DescribeStreamInput{StreamName: aws.String("mkv")})
	if err != nil || aws.ToInt32(about.StreamInfo.DataRetentionInHours) != 24 || aws.ToString(about.StreamInfo.MediaType) != "video/h264" {
		t.Errorf("made by --create: %+v, %v", about, err)
	}
	// What is not kept is said, once; what is, is not.
	for _, c := range []struct {
		args string
		want int
	}{
		{"zero " + mkv + " --create --retention 0", 1}, {"zero " + mkv, 1}, {"zero " + mkv + " --raw", 1}, {"mkv " + mkv, 0},
	} {
		code, _, errs := runWith(t, srv.Environ(), nil, append([]string{"put"}, strings.Fields(c.args)...)...)
		if code != 0 || strings.Count(errs, "keeps nothing (retention 0)") != c.want || strings.Count(errs, "\n") != c.want {
			t.Errorf("put %s: exit code %d, %q", c.args, code, errs)
		}
	}
	if code, out, errs := runWith(t, srv.Environ(), nil, "put", "mkv", mkv, "--raw", "--acks"); code != 0 || strings.Count(out, `"PERSISTED"`) < 2 || strings.Contains(out, "0 frames") {
		t.Errorf("raw: exit code %d\n%s%s", code, out, errs)
	}
	if code, _, _ := runWith(t, srv.Environ(), nil, "put", "missing", mkv); code != cli.ExitNotFound {
		t.Errorf("a stream that does not exist: exit code %d", code)
	}
	for _, args := range [][]string{
		{"put", "a"}, {"put", "a", mkv, "--from-images", images}, {"put", "a", mkv, "--timecode", "odd"}, {"put", "a", "-", "--loop"}, {"put", "a", mkv, "--raw", "--loop"},
	} {
		if code, _, errs := runWith(t, srv.Environ(), nil, args...); code != cli.ExitUsage {
			t.Errorf("%v: exit code %d\n%s", args, code, errs)
		}
	}
}

func TestPutLoopUntilInterrupted(t *testing.T) {
	t.Parallel()
	srv := sluicetest.Start(t)
	path := film(t, "a.mkv", "-c:v", "libx264", "-g", "5", "-pix_fmt", "yuv420p")
	ctx, cancel := context.WithCancel(t.Context())
	var out, errs bytes.Buffer
	seen := &watcher{want: `"PERSISTED"`, n: 3, then: cancel, next: &out}
	code := cli.Run(ctx, []string{"put", "cam", path, "--create", "--loop", "--realtime", "--acks"}, &cli.Env{Stdout: seen, Stderr: &errs, Environ: srv.Environ(), Now: time.Now})
	if code != 0 || !strings.Contains(out.String(), "frames") {
		t.Errorf("exit code %d\n%s%s", code, out.String(), errs.String())
	}
}

// watcher calls then when it has seen want n times.
type watcher struct {
	want string
	n    int
	then func()
	next io.Writer
}

func (w *watcher) Write(p []byte) (int, error) {
	if strings.Contains(string(p), w.want) {
		if w.n--; w.n == 0 {
			w.then()
		}
	}
	return w.next.Write(p)
}

func TestBridgeUsage(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "bad.toml")
	if err := os.WriteFile(file, []byte("[[camera]]\nstrem = \"x\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, args := range map[string][]string{
		"want STREAM":     {"bridge"},
		"SLUICE_RTSP_URL": {"bridge", "cam"},
		"excludes":        {"bridge", "cam", "--config", file},
		"BRIDGE_PASSWORD": {"bridge", "--listen", "127.0.0.1:0", "--user", "x"},
	} {
		if code, _, errs := runWith(t, nil, nil, args...); code != cli.ExitUsage || !strings.Contains(errs, want) {
			t.Errorf("%v: exit code %d: %s", args, code, errs)
		}
	}
	if code, _, errs := runWith(t, nil, nil, "bridge", "--config", file); code == 0 || !strings.Contains(errs, "strem") {
		t.Errorf("a misspelt setting: exit code %d: %s", code, errs)
	}
}

// The command runs, shows its status page, and ends when it is interrupted.
func TestBridgeRuns(t *testing.T) {
	t.Parallel()
	srv := sluicetest.Start(t)
	ctx, cancel := context.WithCancel(t.Context())
	var errs bytes.Buffer
	seen := &watcher{want: "listening for pushes", n: 1, then: cancel, next: &errs}
	code := cli.Run(ctx, []string{"bridge", "--listen", "127.0.0.1:0", "--debug-listen", "127.0.0.1:0", "--create"}, &cli.Env{Stdout: io.Discard, Stderr: seen, Environ: srv.Environ(), Now: time.Now})
	if code != 0 || !strings.Contains(errs.String(), "status page") {
		t.Errorf("exit code %d\n%s", code, errs.String())
	}
}

// The entry script of the bridge's image, run by itself: there is no Docker daemon
// here. It hands keys and URL over by the environment.
func TestBridgeEntryScript(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	stub := "#!/bin/sh\necho \"args: $*\"\necho \"$AWS_ACCESS_KEY_ID $AWS_SECRET_ACCESS_KEY $SLUICE_RTSP_URL\"\n"
	if err := os.WriteFile(filepath.Join(dir, "sluice"), []byte(stub), 0o700); err != nil {
		t.Fatal(err)
	}
	for want, c := range map[string]struct{ args, env []string }{
		"args: bridge cam --create \nAK SK rtsp://u:p@c/x\n":              {args: []string{"AK", "SK", "rtsp://u:p@c/x", "cam"}},
		"args: bridge cam --create --transport tcp\nA S rtsp://u:p@c/x\n": {args: []string{"cam"}, env: []string{"AWS_ACCESS_KEY_ID=A", "AWS_SECRET_ACCESS_KEY=S", "SLUICE_RTSP_URL=rtsp://u:p@c/x", "BRIDGE_OPTIONS=--transport tcp"}},
	} {
		cmd := exec.Command("../../deploy/bridge-entry.sh", c.args...)
		cmd.Env = append([]string{"PATH=" + dir + ":/usr/bin:/bin"}, c.env...)
		out, err := cmd.CombinedOutput()
		if err != nil || strings.ReplaceAll(string(out), " \n", "\n") != strings.ReplaceAll(want, " \n", "\n") {
			t.Errorf("%v: %q, %v, want %q", c.args, out, err, want)
		}
	}
	if err := exec.Command("../../deploy/bridge-entry.sh", "a", "b", "c").Run(); err == nil {
		t.Error("three arguments are taken")
	}
}
