package gst_test

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bluenviron/gortsplib/v5"
	"github.com/bluenviron/gortsplib/v5/pkg/base"
	"github.com/bluenviron/gortsplib/v5/pkg/description"
	"github.com/bluenviron/gortsplib/v5/pkg/format"
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/h264"
)

// rtspCamera serves a recording in a loop, at 25 pictures a second.
type rtspCamera struct {
	url    string
	hashes []string // of the recording's pictures
	stream *gortsplib.ServerStream

	playing chan struct{}
	once    sync.Once
	sent    chan int
}

func newRTSPCamera(t *testing.T) *rtspCamera {
	t.Helper()
	out, err := exec.Command("ffmpeg", "-loglevel", "error", "-f", "lavfi", "-i", "testsrc2=s=320x240:r=25", "-frames:v", "50",
		"-c:v", "libx264", "-profile:v", "baseline", "-g", "10", "-bf", "0", "-x264-params", "repeat-headers=1:aud=1:scenecut=0:keyint=10:min-keyint=10", "-f", "h264", "-").Output()
	if err != nil {
		t.Fatalf("ffmpeg: %v", err)
	}
	c := &rtspCamera{hashes: decode(t, bytes.NewReader(out), "-f", "h264", "-i", "pipe:0"), playing: make(chan struct{}), sent: make(chan int, 1)}
	// With access unit delimiters each picture begins with the same bytes.
	var pictures [][][]byte
	for part := range bytes.SplitSeq(out, []byte{0, 0, 0, 1, 9}) {
		if len(part) == 0 {
			continue
		}
		var au h264.AnnexB
		if err := au.Unmarshal(append([]byte{0, 0, 0, 1, 9}, part...)); err != nil {
			t.Fatal(err)
		}
		pictures = append(pictures, au[1:])
	}
	var sps, pps []byte
	for _, nal := range pictures[0] {
		switch nal[0] & 31 {
		case 7:
			sps = nal
		case 8:
			pps = nal
		}
	}
	form := &format.H264{PayloadTyp: 96, PacketizationMode: 1, SPS: sps, PPS: pps}
	encoder, err := form.CreateEncoder()
	if err != nil {
		t.Fatal(err)
	}
	medi := &description.Media{Type: description.MediaTypeVideo, Formats: []format.Format{form}}
	// A reader that gets no turn for some seconds must not lose pictures.
	server := &gortsplib.Server{Handler: c, RTSPAddress: "127.0.0.1:0", WriteQueueSize: 1 << 14}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	c.url = "rtsp://" + server.NetListener().Addr().String() + "/camera"
	c.stream = &gortsplib.ServerStream{Server: server, Desc: &description.Session{Medias: []*description.Media{medi}}}
	if err := c.stream.Initialize(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		select {
		case <-c.playing:
		case <-ctx.Done():
			return
		}
		// By the clock: what is late is caught up with.
		for n, begin := 0, time.Now(); ; n++ {
			select {
			case <-time.After(time.Until(begin.Add(time.Duration(n) * 40 * time.Millisecond))):
			case <-ctx.Done():
				return
			}
			packets, err := encoder.Encode(pictures[n%len(pictures)])
			if err != nil {
				t.Error(err)
				return
			}
			for _, p := range packets {
				p.Timestamp = uint32(n) * 3600
				c.stream.WritePacketRTP(medi, p)
			}
			select {
			case <-c.sent:
			default:
			}
			c.sent <- n
		}
	})
	t.Cleanup(func() {
		cancel()
		wg.Wait()
		c.stream.Close()
		server.Close()
	})
	return c
}

// played returns when so many pictures were sent.
func (c *rtspCamera) played(t *testing.T, n int) {
	t.Helper()
	late := time.After(stuck)
	for {
		select {
		case at := <-c.sent:
			if at >= n {
				return
			}
		case <-late:
			t.Fatal("nobody played the camera")
		}
	}
}

func (c *rtspCamera) OnDescribe(*gortsplib.ServerHandlerOnDescribeCtx) (*base.Response, *gortsplib.ServerStream, error) {
	return &base.Response{StatusCode: base.StatusOK}, c.stream, nil
}

func (c *rtspCamera) OnSetup(*gortsplib.ServerHandlerOnSetupCtx) (*base.Response, *gortsplib.ServerStream, error) {
	return &base.Response{StatusCode: base.StatusOK}, c.stream, nil
}

func (c *rtspCamera) OnPlay(*gortsplib.ServerHandlerOnPlayCtx) (*base.Response, error) {
	c.once.Do(func() { close(c.playing) })
	return &base.Response{StatusCode: base.StatusOK}, nil
}

// waitFor reads lines until one holds a word; the rest is read in the background.
func waitFor(t *testing.T, r io.Reader, word string) {
	t.Helper()
	waitForN(t, r, word, 1)
}

func waitForN(t *testing.T, r io.Reader, word string, n int) {
	t.Helper()
	lines := bufio.NewScanner(r)
	var seen strings.Builder
	for lines.Scan() {
		if strings.Contains(lines.Text(), word) {
			if n--; n == 0 {
				go io.Copy(io.Discard, r)
				return
			}
		}
		seen.WriteString(lines.Text() + "\n")
	}
	t.Fatalf("the output ended without %q:\n%s", word, tail([]byte(seen.String())))
}
