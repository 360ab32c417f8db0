package bridge_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bluenviron/gortsplib/v5"
	"github.com/bluenviron/gortsplib/v5/pkg/base"
	"github.com/bluenviron/gortsplib/v5/pkg/description"
	"github.com/bluenviron/gortsplib/v5/pkg/format"
	"github.com/bluenviron/gortsplib/v5/pkg/liberrors"
	"github.com/pion/rtp"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/internal/bridge"
	"github.com/sluicevideo/sluice/internal/cli"
	"github.com/sluicevideo/sluice/internal/leaktest"
	"github.com/sluicevideo/sluice/internal/sluicetest"
	"github.com/sluicevideo/sluice/kvsapi"
	"github.com/sluicevideo/sluice/producer"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

func need(t testing.TB, tools ...string) {
	t.Helper()
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip("needs " + tool)
		}
	}
}

func ffmpeg(t testing.TB, args ...string) []byte {
	t.Helper()
	need(t, "ffmpeg")
	cmd := exec.Command("ffmpeg", append([]string{"-v", "error", "-nostdin", "-y"}, args...)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("ffmpeg %v: %v\n%s", args, err, errs.Bytes())
	}
	return out.Bytes()
}

func hashes(t testing.TB, path, stream string) (sums []string) {
	t.Helper()
	for line := range strings.Lines(string(ffmpeg(t, "-i", path, "-map", "0:"+stream, "-fps_mode", "passthrough", "-f", "framemd5", "-"))) {
		if f := strings.Split(strings.TrimSpace(line), ","); len(f) == 6 && !strings.HasPrefix(line, "#") {
			sums = append(sums, strings.TrimSpace(f[5]))
		}
	}
	return sums
}

// patience is for what only a stuck program takes that long for.
const patience = 4 * time.Minute

// logged keeps what was logged.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) { l.mu.Lock(); defer l.mu.Unlock(); return l.b.Write(p) }
func (l *logged) String() string              { l.mu.Lock(); defer l.mu.Unlock(); return l.b.String() }

type running struct {
	t      testing.TB
	server *sluicetest.Server
	b      *bridge.Bridge
	log    *logged
	status string
	stop   func() error
}

func run(t testing.TB, c bridge.Config) *running {
	t.Helper()
	r := &running{t: t, server: sluicetest.Start(t), log: &logged{}}
	log := slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	environ := map[string]string{}
	for _, e := range r.server.Environ() {
		k, v, _ := strings.Cut(e, "=")
		environ[k] = v
	}
	client, err := producer.New(context.Background(), producer.Options{Service: kvsapi.Options{Getenv: func(k string) string { return environ[k] }}, Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	yes := true
	c.Defaults.Create = &yes
	if err := c.Resolve(func(string) string { return "" }); err != nil {
		t.Fatal(err)
	}
	c.Drain = patience
	if r.b, err = bridge.New(bridge.Options{Config: c, Client: client, Logger: log, Version: "test"}); err != nil {
		t.Fatal(err)
	}
	status, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.status = "http://" + status.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.b.Run(ctx, status) }()
	r.stop = sync.OnceValue(func() error {
		cancel()
		err := <-ended
		over, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		_ = client.Close(over)
		return err
	})
	t.Cleanup(func() {
		if err := r.stop(); err != nil {
			t.Errorf("bridge: %v", err)
		}
		if log := r.log.String(); t.Failed() {
			t.Log(log[max(0, len(log)-2000):])
		}
	})
	return r
}

// address is where it listens for pushes.
func (r *running) address() string {
	r.t.Helper()
	for deadline := time.Now().Add(patience); r.b.ListenAddr() == nil; time.Sleep(5 * time.Millisecond) { // Run has only begun
		if time.Now().After(deadline) {
			r.t.Fatal("stuck: it does not listen")
		}
	}
	return r.b.ListenAddr().String()
}

// get saves what the stream holds.
func (r *running) get(stream string) string {
	r.t.Helper()
	path := filepath.Join(r.t.TempDir(), stream+".mkv")
	var errs bytes.Buffer
	env := &cli.Env{Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: &errs, Environ: r.server.Environ(), Now: time.Now}
	if code := cli.Run(context.Background(), []string{"get", stream, "--from", "earliest", "--to", "now", "-o", path}, env); code != 0 {
		r.t.Fatalf("get %s: %d\n%s", stream, code, errs.String())
	}
	return path
}

// frames are all that the stream holds.
func (r *running) frames(stream string) (all []sluice.Frame) {
	r.t.Helper()
	for _, f := range r.server.Stored(stream) {
		all = append(all, f.Frames...)
	}
	return all
}

// await waits until ok holds of a stream's status.
func (r *running) await(stream string, ok func(s bridge.SourceStatus) bool) bridge.SourceStatus {
	r.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		for _, s := range r.b.Status().Streams {
			if s.Stream == stream && ok(s) {
				return s
			}
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("stuck: %+v", r.b.Status())
		}
		time.Sleep(50 * time.Millisecond) // the bridge has no other way to tell
	}
}

// film makes a test recording.
func film(t testing.TB, name string, seconds int, args ...string) string {
	path := filepath.Join(t.TempDir(), name)
	in := []string{"-f", "lavfi", "-i", fmt.Sprintf("testsrc=size=320x240:rate=25:duration=%d", seconds)}
	if slices.Contains(args, "-c:a") {
		in = append(in, "-f", "lavfi", "-i", fmt.Sprintf("sine=sample_rate=%s:duration=%d", rate(args), seconds))
	}
	ffmpeg(t, append(append(in, args...), path)...)
	return path
}

func rate(args []string) string {
	if slices.Contains(args, "pcm_alaw") || slices.Contains(args, "pcm_mulaw") {
		return "8000"
	}
	return "48000"
}

// push sends a recording with ffmpeg, in real time, and waits for its end.
func push(t testing.TB, path, url string, args ...string) {
	t.Helper()
	ffmpeg(t, append(append([]string{"-re", "-i", path, "-c", "copy"}, args...), "-f", "rtsp", url)...)
}

var h264 = []string{"-c:v", "libx264", "-g", "25", "-pix_fmt", "yuv420p", "-preset", "ultrafast", "-tune", "zerolatency"}

var h265 = []string{"-c:v", "libx265", "-x265-params", "log-level=error:keyint=25:bframes=0", "-preset", "ultrafast", "-pix_fmt", "yuv420p"}

// settled are pictures without the last ones when those may be out of order: where
// a stream is cut, the B-frames before the last picture may not have come.
func settled(pictures, encoder []string) []string {
	if slices.Contains(encoder, "-bf") {
		return pictures[:max(0, len(pictures)-3)]
	}
	return pictures
}

// places says where each picture of a stream stands in the recording, for a test
// that failed; -1 is none of its pictures.
func places(got, want []string) (all []int) {
	for _, h := range got {
		all = append(all, slices.Index(want, h))
	}
	return all
}

// within reports whether part is a run of whole.
func within(whole, part []string) bool {
	for i := 0; i+len(part) <= len(whole); i++ {
		if slices.Equal(whole[i:i+len(part)], part) {
			return true
		}
	}
	return false
}

// sameSound holds the sound that the stream has, coded as it is, to the recording's:
// it must be its packets in order, and no less than one part in least of them. Some
// may be missing on a busy machine: sound that is late waits a second only.
func (r *running) sameSound(stream, recording string, least int) {
	r.t.Helper()
	want := ffmpeg(r.t, "-i", recording, "-map", "0:a", "-c", "copy", "-f", "data", "-")
	at, sum := 0, 0
	for i, f := range r.frames(stream) {
		if f.Track == 1 {
			continue
		}
		n := bytes.Index(want[at:], f.Data)
		if n < 0 {
			r.t.Errorf("frame %d: %d bytes of sound are none of the recording's, or out of order", i, len(f.Data))
			return
		}
		at += n + len(f.Data)
		sum += len(f.Data)
	}
	if sum < len(want)/least {
		r.t.Errorf("%d bytes of sound of %d", sum, len(want))
	}
}

func TestPushes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		file string
		args []string
		push []string
		loss int // pictures that may be missing at the ends: RTP has no end of stream
	}{
		"h264 aac":      {"a.mkv", append(slices.Clone(h264), "-c:a", "aac"), []string{"-rtsp_transport", "tcp"}, 1},
		"h264 b-frames": {"a.mkv", []string{"-c:v", "libx264", "-g", "25", "-bf", "2", "-pix_fmt", "yuv420p"}, []string{"-rtsp_transport", "tcp"}, 1},
		"h265":          {"a.mkv", h265, []string{"-rtsp_transport", "tcp"}, 1},
		"h264 g711 a":   {"a.mkv", append(slices.Clone(h264), "-c:a", "pcm_alaw"), []string{"-rtsp_transport", "tcp"}, 1},
		"h264 g711 µ":   {"a.mkv", append(slices.Clone(h264), "-c:a", "pcm_mulaw"), []string{"-rtsp_transport", "tcp"}, 1},
		"h265 aac udp":  {"a.mkv", append(slices.Clone(h265), "-c:a", "aac"), []string{"-rtsp_transport", "udp"}, 1},
		"mjpeg":         {"a.mkv", []string{"-c:v", "mjpeg", "-pix_fmt", "yuvj420p", "-q:v", "5", "-huffman", "default"}, []string{"-rtsp_transport", "tcp"}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := film(t, c.file, 4, c.args...)
			set := bridge.Listen{Address: "127.0.0.1:0"}
			udp := slices.Contains(c.push, "udp")
			if udp {
				set.UDP = evenPort(t)
			}
			r := run(t, bridge.Config{Listen: set})
			url := "rtsp://" + r.address() + "/cam"
			began := time.Now()
			push(t, path, url, c.push...)
			r.await("cam", func(s bridge.SourceStatus) bool { return !s.Connected && s.BufferBytes == 0 && s.Persisted >= 1 })
			out := r.get("cam")
			got, want := hashes(t, out, "v"), hashes(t, path, "v")
			if udp && len(got) > len(want)/4 {
				// A busy machine loses packets.
			} else if len(got) < len(want)-c.loss || !within(want, got) {
				t.Errorf("%d pictures of %d: %v", len(got), len(want), places(got, want))
			}
			if slices.Contains(c.args, "-c:a") {
				least := 2
				if udp {
					least = 8
				}
				r.sameSound("cam", path, least)
			}
			s := r.await("cam", func(bridge.SourceStatus) bool { return true })
			// A sender that began late makes up for it: its four seconds may come at once.
			if off := s.LastFrame.Sub(began); off < 3*time.Second && !udp || off < time.Second || off > time.Since(began)+5*time.Second {
				t.Errorf("the last frame is of %v after the push began", off)
			}
		})
	}
}

// cameraServer stands in for a camera: what is pushed to it can be pulled.
type cameraServer struct {
	server *gortsplib.Server
	user   string
	clock  time.Duration // the camera's less ours
	noSets bool          // none in the SDP

	mu     sync.Mutex
	stream *gortsplib.ServerStream
	ready  chan struct{}
}

func newCameraServer(t testing.TB, udp bool, address string) *cameraServer {
	t.Helper()
	c := &cameraServer{ready: make(chan struct{})}
	// A reader that gets no turn for some seconds must not lose pictures.
	c.server = &gortsplib.Server{Handler: c, RTSPAddress: address, WriteQueueSize: 1 << 14}
	if udp {
		for port := 20000 + os.Getpid()%1000*20; ; port += 2 {
			c.server.UDPRTPAddress, c.server.UDPRTCPAddress = fmt.Sprintf("127.0.0.1:%d", port), fmt.Sprintf("127.0.0.1:%d", port+1)
			if err := c.server.Start(); err == nil {
				break
			} else if port > 60000 {
				t.Fatal(err)
			}
		}
	} else if err := c.server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.close)
	return c
}

func (c *cameraServer) close() {
	c.mu.Lock()
	stream := c.stream
	c.stream = nil
	c.mu.Unlock()
	if stream != nil {
		stream.Close()
	}
	c.server.Close()
}

func (c *cameraServer) url(userinfo string) string {
	return "rtsp://" + userinfo + c.server.NetListener().Addr().String() + "/live"
}

func (c *cameraServer) OnAnnounce(ctx *gortsplib.ServerHandlerOnAnnounceCtx) (*base.Response, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.noSets {
		for _, m := range ctx.Description.Medias {
			switch f := m.Formats[0].(type) {
			case *format.H264:
				f.SafeSetParams(nil, nil)
			case *format.H265:
				f.SafeSetParams(nil, nil, nil)
			}
		}
	}
	c.stream = &gortsplib.ServerStream{Server: c.server, Desc: ctx.Description}
	if err := c.stream.Initialize(); err != nil {
		return &base.Response{StatusCode: base.StatusInternalServerError}, err
	}
	return &base.Response{StatusCode: base.StatusOK}, nil
}

func (c *cameraServer) OnDescribe(ctx *gortsplib.ServerHandlerOnDescribeCtx) (*base.Response, *gortsplib.ServerStream, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.user != "" && !ctx.Conn.VerifyCredentials(ctx.Request, c.user, "s3cret/word") {
		return &base.Response{StatusCode: base.StatusUnauthorized}, nil, liberrors.ErrServerAuth{}
	}
	if c.stream == nil {
		return &base.Response{StatusCode: base.StatusNotFound}, nil, nil
	}
	return &base.Response{StatusCode: base.StatusOK}, c.stream, nil
}

func (c *cameraServer) OnSetup(ctx *gortsplib.ServerHandlerOnSetupCtx) (*base.Response, *gortsplib.ServerStream, error) {
	if ctx.Session.State() == gortsplib.ServerSessionStatePreRecord {
		return &base.Response{StatusCode: base.StatusOK}, nil, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return &base.Response{StatusCode: base.StatusOK}, c.stream, nil
}

func (c *cameraServer) OnPlay(*gortsplib.ServerHandlerOnPlayCtx) (*base.Response, error) {
	return &base.Response{StatusCode: base.StatusOK}, nil
}

func (c *cameraServer) OnRecord(ctx *gortsplib.ServerHandlerOnRecordCtx) (*base.Response, error) {
	ctx.Session.OnPacketRTPAny(func(m *description.Media, _ format.Format, p *rtp.Packet) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.stream != nil {
			_ = c.stream.WritePacketRTPWithNTP(m, p, time.Now().Add(c.clock))
		}
	})
	close(c.ready)
	return &base.Response{StatusCode: base.StatusOK}, nil
}

// feed pushes a recording to the camera in a loop until the test ends.
func (c *cameraServer) feed(t testing.TB, path string, args ...string) (stop func()) {
	t.Helper()
	need(t, "ffmpeg")
	args = append(append([]string{"-v", "error", "-nostdin", "-re", "-stream_loop", "-1", "-i", path, "-c", "copy"}, args...), "-rtsp_transport", "tcp", "-f", "rtsp", c.url(""))
	cmd := exec.Command("ffmpeg", args...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	t.Cleanup(stop)
	select {
	case <-c.ready:
	case <-time.After(patience):
		t.Fatal("stuck: ffmpeg does not push")
	}
	return stop
}

func TestPull(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		transport string
		udp       bool
		args      []string
	}{
		"tcp":            {"tcp", false, append(slices.Clone(h264), "-c:a", "aac")},
		"udp":            {"udp", true, h264},
		"auto, tcp only": {"auto", false, h264},
		"h265 tcp":       {"tcp", false, h265},
		"b-frames tcp":   {"tcp", false, []string{"-c:v", "libx264", "-g", "25", "-bf", "2", "-pix_fmt", "yuv420p"}},
		"mjpeg tcp":      {"tcp", false, []string{"-c:v", "mjpeg", "-pix_fmt", "yuvj420p", "-q:v", "5", "-huffman", "default"}},
		"g711 udp":       {"udp", true, append(slices.Clone(h264), "-c:a", "pcm_mulaw")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			seconds := 3
			if slices.Contains(c.args, "-bf") {
				seconds = 30 // what reorders does not loop without a seam
			}
			path := film(t, "a.mkv", seconds, c.args...)
			cam := newCameraServer(t, c.udp, "127.0.0.1:0")
			cam.mu.Lock()
			cam.user = "admin"
			cam.mu.Unlock()
			cam.feed(t, path)
			r := run(t, bridge.Config{Cameras: []bridge.Camera{{Stream: "door", URL: cam.url("admin:s3cret%2Fword@"), Transport: c.transport}}})
			s := r.await("door", func(s bridge.SourceStatus) bool { return s.Persisted >= 4 })
			// As old as it took to come, and not of another clock.
			if d := time.Since(s.LastFrame).Abs(); d > 30*time.Second {
				t.Errorf("the newest frame is %v away from now", d)
			}
			page, err := http.Get(r.status + "/")
			if err != nil {
				t.Fatal(err)
			}
			text, _ := io.ReadAll(page.Body)
			page.Body.Close()
			js, err := http.Get(r.status + "/status.json")
			if err != nil {
				t.Fatal(err)
			}
			var st bridge.Status
			err = json.NewDecoder(js.Body).Decode(&st)
			js.Body.Close()
			if err != nil || len(st.Streams) != 1 || !st.Streams[0].Connected {
				t.Errorf("status %+v, %v", st, err)
			}
			http.DefaultClient.CloseIdleConnections()
			if err := r.stop(); err != nil {
				t.Error(err)
			}
			got, want := settled(hashes(t, r.get("door"), "v"), c.args), hashes(t, path, "v")
			if len(got) < 75 && (!c.udp || len(got) < 25) {
				t.Errorf("%d pictures", len(got))
			}
			// The camera plays it over and over. Every picture is the next one, and none
			// is missing; over UDP some may be.
			looped := slices.Repeat(want, len(got)/len(want)+2)
			if !c.udp && !within(looped, got) {
				t.Errorf("%d pictures, which are not those of the camera in order: %v", len(got), places(got, want))
			}
			strange := 0
			for _, h := range got {
				if !slices.Contains(want, h) {
					strange++
				}
			}
			if strange > 0 && !c.udp || strange > len(got)*3/4 {
				t.Errorf("%d of %d pictures are none of the camera's", strange, len(got))
			}
			if slices.Contains(c.args, "-c:a") {
				if n := len(hashes(t, r.get("door"), "a")); n < 5 {
					t.Errorf("%d pieces of sound", n)
				}
			}
			for where, text := range map[string]string{"log": r.log.String(), "page": string(text)} {
				if strings.Contains(text, "s3cret") {
					t.Errorf("the password is in the %s", where)
				}
			}
		})
	}
}

// Cameras whose clock is an hour off, and some that send their parameter sets in
// band only.
func TestOddCameras(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		args   []string
		clock  time.Duration
		noSets bool
		filter string
	}{
		"clock an hour slow": {args: h264, clock: -time.Hour, filter: "h264_mp4toannexb"},
		"clock an hour fast": {args: h264, clock: time.Hour, filter: "h264_mp4toannexb"},
		"h264 sets in band":  {args: h264, noSets: true, filter: "h264_mp4toannexb"},
		"h265 sets in band":  {args: h265, noSets: true, filter: "hevc_mp4toannexb"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := film(t, "a.mkv", 60, c.args...)
			cam := newCameraServer(t, false, "127.0.0.1:0")
			cam.mu.Lock()
			cam.clock, cam.noSets = c.clock, c.noSets
			cam.mu.Unlock()
			cam.feed(t, path, "-bsf:v", c.filter)
			r := run(t, bridge.Config{Cameras: []bridge.Camera{{Stream: "door", URL: cam.url(""), Transport: "tcp"}}})
			s := r.await("door", func(s bridge.SourceStatus) bool {
				return s.Persisted >= 4 && (c.clock == 0 || s.ClockOffsetMs != 0) // reports come every ten seconds
			})
			if d := time.Since(s.LastFrame).Abs(); d > 30*time.Second {
				t.Errorf("the newest frame is %v away from now", d)
			}
			if c.clock != 0 && (s.ClockTrusted || (time.Duration(s.ClockOffsetMs)*time.Millisecond-c.clock).Abs() > 30*time.Second) {
				t.Errorf("the camera's clock: trusted %v, offset %d ms", s.ClockTrusted, s.ClockOffsetMs)
			}
			if err := r.stop(); err != nil {
				t.Error(err)
			}
			if got, want := hashes(t, r.get("door"), "v"), hashes(t, path, "v"); len(got) < 75 || !within(append(want, want...), got) {
				t.Errorf("%d pictures, in order %v", len(got), within(append(want, want...), got))
			}
		})
	}
}

// A camera that reboots comes back into the same stream, with times that go on.
func TestCameraReboots(t *testing.T) {
	t.Parallel()
	path := film(t, "a.mkv", 3, h264...)
	address := sluicetest.Address(t)
	cam := newCameraServer(t, false, address)
	stopFeed := cam.feed(t, path)
	r := run(t, bridge.Config{Cameras: []bridge.Camera{{Stream: "door", URL: cam.url(""), Transport: "tcp"}}})
	before := r.await("door", func(s bridge.SourceStatus) bool { return s.Persisted >= 2 })
	cam.close()
	stopFeed()
	r.await("door", func(s bridge.SourceStatus) bool { return !s.Connected })
	again := newCameraServer(t, false, address)
	again.feed(t, path)
	after := r.await("door", func(s bridge.SourceStatus) bool { return s.Connected && s.Persisted >= before.Persisted+3 })
	if after.Connections < 2 || after.Dropped > 0 {
		t.Errorf("%+v", after)
	}
	if !after.LastFrame.After(before.LastFrame) {
		t.Errorf("times went back: %v after %v", after.LastFrame, before.LastFrame)
	}
}

func TestPushNeedsCredentials(t *testing.T) {
	t.Parallel()
	path := film(t, "a.mkv", 1, h264...)
	r := run(t, bridge.Config{Listen: bridge.Listen{Address: "127.0.0.1:0", User: "pub", Password: "s3cret", Stream: "site-{path}"}})
	addr := r.address()
	cmd := exec.Command("ffmpeg", "-v", "error", "-nostdin", "-re", "-i", path, "-c", "copy", "-rtsp_transport", "tcp", "-f", "rtsp", "rtsp://pub:wrong@"+addr+"/a/b")
	if err := cmd.Run(); err == nil {
		t.Error("a wrong password is taken")
	}
	push(t, path, "rtsp://pub:s3cret@"+addr+"/a/b", "-rtsp_transport", "tcp")
	r.await("site-a_b", func(s bridge.SourceStatus) bool { return s.Persisted >= 1 })
	if strings.Contains(r.log.String(), "s3cret") {
		t.Error("the password is in the log")
	}
}
