package compat_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sluicevideo/sluice/internal/cli"
	"github.com/sluicevideo/sluice/internal/demo"
	"github.com/sluicevideo/sluice/internal/sluicetest"
	"github.com/sluicevideo/sluice/kvsapi"
	"github.com/sluicevideo/sluice/producer"
)

// hostile is a camera whose names are markup: a console that does not escape
// them runs it.
type hostile struct{ demo.Camera }

const markup = `<img src=x onerror="globalThis.executed=1">`

func (h *hostile) Configure(ctx context.Context) (producer.StreamInfo, error) {
	info, err := h.Camera.Configure(ctx)
	if err == nil {
		info.Tracks[0].CodecID = `V_<img src=x onerror=executed=1>`
		info.Tracks[0].Name = `<img src=x onerror=executed=1>`
	}
	return info, err
}

func (h *hostile) Run(ctx context.Context, s *producer.Stream) error {
	h.OnFrame = func(picture int, _ time.Time) {
		if picture == 0 {
			_ = s.PutMetadata(markup, markup, false) // while the stream is there
		}
	}
	return h.Camera.Run(ctx, s)
}

// browser skips a test where there is none, or nothing for it to show.
func browser(t *testing.T) {
	t.Helper()
	for _, program := range []string{"node", "chromium", "ffmpeg", "ffprobe"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is not installed", program)
		}
	}
	if _, err := os.Stat("console/node_modules/playwright-core"); err != nil {
		t.Skip("compat/console/node_modules is missing (npm ci)")
	}
	if _, err := os.Stat("../internal/console/dist/index.html"); err != nil {
		t.Skip("the console is not built (make console)")
	}
}

// TestDemoInBrowser opens what "sluice demo" prints.
func TestDemoInBrowser(t *testing.T) {
	browser(t)
	ctx, interrupt := context.WithCancel(t.Context())
	out, in := io.Pipe()
	done := make(chan int, 1)
	go func() {
		done <- cli.Run(ctx, []string{"demo", "--listen", "127.0.0.1:0", "--listen-tls", "off", "--debug-listen", "off"}, &cli.Env{
			Stdin: strings.NewReader(""), Stdout: in, Stderr: in, Now: time.Now,
		})
		in.Close()
	}()
	address := ""
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if _, after, ok := strings.Cut(lines.Text(), "Console "); ok {
			address = strings.TrimSpace(after)
		}
		if strings.HasPrefix(lines.Text(), "Ctrl-C") {
			break
		}
	}
	go io.Copy(io.Discard, out)
	browse(t, "demo.js", address, "shown")
	interrupt()
	if code := <-done; code != 0 {
		t.Errorf("the demo ended with %d", code)
	}
}

// TestConsole walks the console in Chromium as its users do, on a server with a
// camera, and leaves screenshots in build/screenshots.
func TestConsole(t *testing.T) {
	browser(t)
	s := sluicetest.Start(t)
	play(t, s, "demo-camera", &demo.Camera{})
	play(t, s, "hostile", &hostile{})
	encode(t, s, "h265", "-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "keyint=25:log-level=error", "-c:a", "aac")
	encode(t, s, "g711", "-c:v", "libx264", "-preset", "ultrafast", "-g", "25", "-pix_fmt", "yuv420p", "-c:a", "pcm_alaw")
	shots, err := filepath.Abs("../build/screenshots")
	if err == nil {
		err = os.MkdirAll(shots, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	settings := map[string]string{
		"url": s.Endpoint, "key": s.Credentials.AccessKeyID, "secret": s.Credentials.SecretAccessKey, "shots": shots, "temp": t.TempDir(), "markup": markup,
	}
	settings["nobodyKey"], settings["nobodySecret"], _ = strings.Cut(nobody(t, s), ":")
	// Where a script makes the sessions of the server expire, many streams, and
	// calls of IAM as root.
	helper := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if form := r.URL.Query().Get("iam"); form != "" {
			_, _ = w.Write(asRoot(t, s, form))
		} else if text := r.URL.Query().Get("later"); text != "" {
			d, err := time.ParseDuration(text)
			if err != nil {
				t.Error(err)
			}
			s.Later(d)
		} else {
			manyStreams(t, s, 120)
		}
	}))
	t.Cleanup(helper.Close)
	settings["helper"] = helper.URL
	b, err := json.Marshal(settings)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("walk", func(t *testing.T) { browse(t, "walk.js", string(b), "walked") })
	t.Run("pages", func(t *testing.T) {
		if _, err := os.Stat("browser/node_modules/hls.js"); err != nil {
			t.Skip("compat/browser/node_modules is missing (npm ci)")
		}
		browse(t, "pages.js", string(b), "played")
	})
}

// browse runs a script of compat/console, which ends with a word when all went
// well.
func browse(t *testing.T, script, settings, end string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute) // only to notice that it is stuck
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", script)
	cmd.Dir = "console"
	cmd.Env = append(os.Environ(), "SLUICE_CONSOLE="+settings)
	cmd.WaitDelay = 10 * time.Second
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil || !strings.HasSuffix(string(out), end+"\n") {
		t.Errorf("%s: %v", script, err)
	}
}

// encode lets a test picture and a tone play into a stream in codecs that ffmpeg
// is told.
func encode(t *testing.T, s *sluicetest.Server, stream string, codecs ...string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), stream+".mkv")
	args := append([]string{"-v", "error", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25", "-f", "lavfi", "-i", "sine=sample_rate=8000", "-t", "8"}, codecs...)
	if out, err := exec.CommandContext(t.Context(), "ffmpeg", append(args, file)...).CombinedOutput(); err != nil {
		t.Fatalf("ffmpeg: %v %s", err, out)
	}
	open := func() (io.ReadCloser, error) { return os.Open(file) }
	play(t, s, stream, &producer.MKVSource{Open: open, FileOptions: producer.FileOptions{Realtime: true, Loop: true}})
}

// play lets a source put into a stream until the test ends.
func play(t *testing.T, s *sluicetest.Server, stream string, source producer.MediaSource) {
	t.Helper()
	client, err := producer.New(t.Context(), producer.Options{Service: kvsapi.Options{Endpoint: s.Endpoint, Credentials: s.AWSConfig().Credentials, Region: s.Region}})
	if err != nil {
		t.Fatal(err)
	}
	r, err := client.Register(t.Context(), stream, source, &producer.StreamInfo{Retention: 24 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	r.Start(context.WithoutCancel(t.Context()))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_, err := r.Free(ctx)
		if err = errors.Join(err, client.Close(ctx)); err != nil {
			t.Logf("camera %s: %v", stream, err)
		}
	})
}
