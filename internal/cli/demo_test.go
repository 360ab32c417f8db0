package cli_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bluenviron/gortsplib/v5"
	"github.com/bluenviron/gortsplib/v5/pkg/base"
	"github.com/bluenviron/gortsplib/v5/pkg/description"
	"github.com/bluenviron/gortsplib/v5/pkg/format"
	"github.com/bluenviron/gortsplib/v5/pkg/liberrors"

	"github.com/sluicevideo/sluice/internal/cli"
	"github.com/sluicevideo/sluice/internal/demo"
	"github.com/sluicevideo/sluice/mkv"
)

// console is a Stdout that tells when the demo has said all.
type console struct {
	mu   sync.Mutex
	b    bytes.Buffer
	said chan struct{}
	once sync.Once
}

func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, err := c.b.Write(p)
	if strings.Contains(c.b.String(), "Ctrl-C") {
		c.once.Do(func() { close(c.said) })
	}
	return n, err
}

func (c *console) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.b.String()
}

// TestDemo runs the demo twice on the same data: the code signs in once, media
// arrives, the keys stay the same, and an interrupt ends it well.
func TestDemo(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "data")
	var keys string
	for round := range 2 {
		ctx, interrupt := context.WithCancel(t.Context())
		out, errs := &console{said: make(chan struct{})}, &console{said: make(chan struct{})}
		done := make(chan int, 1)
		go func() {
			done <- cli.Run(ctx, []string{"demo", "--data", data, "--listen", "127.0.0.1:0", "--listen-tls", "off", "--debug-listen", "off"}, &cli.Env{
				Stdin: strings.NewReader(""), Stdout: out, Stderr: errs, Now: time.Now, Terminal: true,
			})
		}()
		select {
		case <-out.said:
		case code := <-done:
			t.Fatalf("demo ended with %d: %s", code, errs)
		}
		found := regexp.MustCompile(`(http://[0-9.:]+)/console/#code=([0-9a-f]{32})`).FindStringSubmatch(out.String())
		if found == nil {
			t.Fatalf("no address of the console in %s", out)
		}
		url, code := found[1], found[2]
		signIn := func() (status int, key string) {
			res, err := http.Post(url+"/console/sign-in", "application/json", strings.NewReader(`{"Code":"`+code+`"}`))
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			var got struct{ AccessKeyID, SessionToken string }
			_ = json.NewDecoder(res.Body).Decode(&got)
			return res.StatusCode, got.AccessKeyID
		}
		if status, key := signIn(); status != 200 || !strings.HasPrefix(key, "ASIA") {
			t.Errorf("sign in: %d %q", status, key)
		}
		if status, _ := signIn(); status != 403 {
			t.Errorf("sign in again: %d", status)
		}
		file := filepath.Join(data, "demo-credentials")
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if round == 1 && string(b) != keys {
			t.Error("the keys have changed")
		}
		keys = string(b)
		clip := filepath.Join(t.TempDir(), "out.mkv")
		pair := regexp.MustCompile(`= (\S+)`).FindAllStringSubmatch(keys, -1)
		environ := []string{"AWS_ENDPOINT_URL=" + url, "AWS_REGION=us-west-2", "AWS_ACCESS_KEY_ID=" + pair[0][1], "AWS_SECRET_ACCESS_KEY=" + pair[1][1]}
		// The stream comes with the camera's first fragment.
		for r := (result{code: -1}); r.code != 0; {
			if r = run(t, environ, "get", "demo-camera", "--from", "now", "--for", "2s", "-o", clip); r.code != 0 && r.code != cli.ExitNotFound {
				t.Fatalf("get: %+v", r)
			}
		}
		if info, err := os.Stat(clip); err != nil || info.Size() < 10_000 {
			t.Errorf("what was read: %v, %v", info, err)
		}
		interrupt()
		if code := <-done; code != 0 {
			t.Errorf("interrupted: code %d, %s", code, errs)
		}
		if errs.String() != "" {
			t.Errorf("stderr: %s", errs)
		}
	}
}

// rtspCamera is a camera on the network that plays the demo's clip by the clock, to
// whoever gives the right password.
type rtspCamera struct {
	server *gortsplib.Server
	stream *gortsplib.ServerStream
}

func (c *rtspCamera) OnDescribe(ctx *gortsplib.ServerHandlerOnDescribeCtx) (*base.Response, *gortsplib.ServerStream, error) {
	if !ctx.Conn.VerifyCredentials(ctx.Request, "admin", "s3cret") {
		return &base.Response{StatusCode: base.StatusUnauthorized}, nil, liberrors.ErrServerAuth{}
	}
	return &base.Response{StatusCode: base.StatusOK}, c.stream, nil
}

func (c *rtspCamera) OnSetup(*gortsplib.ServerHandlerOnSetupCtx) (*base.Response, *gortsplib.ServerStream, error) {
	return &base.Response{StatusCode: base.StatusOK}, c.stream, nil
}

func (c *rtspCamera) OnPlay(*gortsplib.ServerHandlerOnPlayCtx) (*base.Response, error) {
	return &base.Response{StatusCode: base.StatusOK}, nil
}

// sized reads bytes behind their 16-bit length.
func sized(b []byte) (head, rest []byte) {
	n := 2 + int(binary.BigEndian.Uint16(b))
	return b[2:n], b[n:]
}

// newRTSPCamera plays until the test ends, and gives its address.
func newRTSPCamera(t *testing.T) (url string) {
	t.Helper()
	tracks, frames, err := demo.Load()
	if err != nil {
		t.Fatal(err)
	}
	sps, rest := sized(tracks[0].CodecPrivate[6:]) // avcC with one of each
	pps, _ := sized(rest[1:])
	h264 := &format.H264{PayloadTyp: 96, PacketizationMode: 1, SPS: sps, PPS: pps}
	media := &description.Media{Type: description.MediaTypeVideo, Formats: []format.Format{h264}}
	c := &rtspCamera{}
	c.server = &gortsplib.Server{Handler: c, RTSPAddress: "127.0.0.1:0"}
	if err := c.server.Start(); err != nil {
		t.Fatal(err)
	}
	c.stream = &gortsplib.ServerStream{Server: c.server, Desc: &description.Session{Medias: []*description.Media{media}}}
	if err := c.stream.Initialize(); err != nil {
		t.Fatal(err)
	}
	packets, err := h264.CreateEncoder()
	if err != nil {
		t.Fatal(err)
	}
	over, ended := make(chan struct{}), make(chan struct{})
	t.Cleanup(func() {
		close(over)
		<-ended
		c.stream.Close()
		c.server.Close()
	})
	go func() {
		defer close(ended)
		for begin, round := time.Now(), time.Duration(0); ; round += demo.Length {
			for _, f := range frames {
				if f.Track != 1 {
					continue
				}
				at := round + f.Timecode
				select {
				case <-time.After(time.Until(begin.Add(at))):
				case <-over:
					return
				}
				var units [][]byte
				for b := f.Data; len(b) > 4; {
					n := int(binary.BigEndian.Uint32(b))
					units = append(units, b[4:4+n])
					b = b[4+n:]
				}
				list, err := packets.Encode(units)
				if err != nil {
					t.Error(err)
					return
				}
				for _, p := range list {
					p.Timestamp = uint32(at * 90 / time.Millisecond)
					if err := c.stream.WritePacketRTPWithNTP(media, p, begin.Add(at)); err != nil {
						t.Error(err)
						return
					}
				}
			}
		}
	}()
	return "rtsp://admin:s3cret@" + c.server.NetListener().Addr().String() + "/live"
}

// TestDemoShowsACamera: with --rtsp the stream has the camera's pictures, and its
// password is nowhere to be read.
func TestDemoShowsACamera(t *testing.T) {
	t.Parallel()
	address := newRTSPCamera(t)
	data := filepath.Join(t.TempDir(), "data")
	ctx, interrupt := context.WithCancel(t.Context())
	out, errs := &console{said: make(chan struct{})}, &console{said: make(chan struct{})}
	done := make(chan int, 1)
	go func() {
		done <- cli.Run(ctx, []string{"demo", "--rtsp", address, "--data", data, "--listen", "127.0.0.1:0", "--listen-tls", "off", "--debug-listen", "off"}, &cli.Env{
			Stdin: strings.NewReader(""), Stdout: out, Stderr: errs, Now: time.Now,
		})
	}()
	select {
	case <-out.said:
	case code := <-done:
		t.Fatalf("demo ended with %d: %s", code, errs)
	}
	url := regexp.MustCompile(`http://[0-9.:]+`).FindString(out.String())
	b, err := os.ReadFile(filepath.Join(data, "demo-credentials"))
	if err != nil {
		t.Fatal(err)
	}
	pair := regexp.MustCompile(`= (\S+)`).FindAllStringSubmatch(string(b), -1)
	environ := []string{"AWS_ENDPOINT_URL=" + url, "AWS_REGION=us-west-2", "AWS_ACCESS_KEY_ID=" + pair[0][1], "AWS_SECRET_ACCESS_KEY=" + pair[1][1]}
	film := filepath.Join(t.TempDir(), "out.mkv")
	// The stream comes with the camera's first fragment.
	for r := (result{code: -1}); r.code != 0; {
		if r = run(t, environ, "get", "demo-camera", "--from", "now", "--for", "3s", "-o", film); r.code != 0 && r.code != cli.ExitNotFound {
			t.Fatalf("get: %+v", r)
		}
	}
	got, err := os.ReadFile(film)
	if err != nil {
		t.Fatal(err)
	}
	_, frames, err := demo.Load()
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, f := range frames {
		if f.Track == 1 {
			known[string(f.Data)] = true
		}
	}
	d := mkv.NewDemuxer(mkv.Options{})
	d.Feed(got)
	d.Close()
	pictures := 0
	for e, err := d.Next(); err == nil; e, err = d.Next() {
		for _, f := range e.Frames {
			if pictures++; !known[string(f.Data)] {
				t.Fatalf("picture %d of %d bytes is none of the camera's", pictures, len(f.Data))
			}
		}
	}
	if pictures < 25 {
		t.Errorf("%d pictures", pictures)
	}
	interrupt()
	if code := <-done; code != 0 {
		t.Errorf("interrupted: code %d, %s", code, errs)
	}
	if all := out.String() + errs.String(); strings.Contains(all, "s3cret") {
		t.Errorf("the camera's password is shown:\n%s", all)
	}
}

// TestDemoTakesItsDataAway: without --data nothing is left.
func TestDemoTakesItsDataAway(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	ctx, interrupt := context.WithCancel(t.Context())
	out := &console{said: make(chan struct{})}
	done := make(chan int, 1)
	go func() {
		done <- cli.Run(ctx, []string{"demo", "--listen", "127.0.0.1:0", "--listen-tls", "off", "--debug-listen", "off"}, &cli.Env{
			Stdin: strings.NewReader(""), Stdout: out, Stderr: out, Now: time.Now,
		})
	}()
	select {
	case <-out.said:
	case code := <-done:
		t.Fatalf("demo ended with %d: %s", code, out)
	}
	if !strings.Contains(out.String(), "Secret key   in ") {
		t.Errorf("a secret is shown to a program:\n%s", out)
	}
	interrupt()
	if code := <-done; code != 0 {
		t.Errorf("code %d: %s", code, out)
	}
	if left, err := filepath.Glob(filepath.Join(temp, "sluice-demo-*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}
